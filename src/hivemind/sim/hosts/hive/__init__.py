"""The hive in a simulated world: PBFT agrees on real state, nodes run what it gives them, and are lost and found."""
