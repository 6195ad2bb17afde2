"""`reactor selftest`: the promise, tried out on the user's own Redis and engine, with faults.

What this is: throw-away sessions under a prefix of their own, and a judge who looks on. What it is not: part of the
sidecar. The invariant: nothing is touched that does not carry this run's mark.
"""
