"""Discovery in the simulated world."""
