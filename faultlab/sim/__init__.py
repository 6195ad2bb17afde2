"""The product's flows in a simulated world: virtual time, seeded scheduling, a Redis and engines in memory.

What this is: the part of the laboratory that real time is too slow for. What it is not: a model; the code that runs
is the product's own, down to the bytes that redis-py sends and the Lua that Redis runs. The invariant: one seed is
one history.
"""
