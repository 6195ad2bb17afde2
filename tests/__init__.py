"""The tests of session-reactor: real Redis, a real Docker engine, real processes."""
