"""The independent observer: a process of its own that shares no code with the product."""
