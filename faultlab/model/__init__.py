"""A model of the session protocol, small enough that every interleaving of it can be looked at."""
