"""The faults that a run can choose from."""
