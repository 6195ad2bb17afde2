"""The fault laboratory: programs that prove the invariants under faults."""
