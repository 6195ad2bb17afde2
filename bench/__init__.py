"""Measurements of the product beside the limits and the peers: `python -m bench NAME` or `python -m bench all`."""
