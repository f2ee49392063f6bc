"""The simulated world: every protocol machine, and the hive made of them, under faults that a seed decides."""
