"""PBFT in a simulated world: replicas and learners that execute a small key-value application, and its clients."""
