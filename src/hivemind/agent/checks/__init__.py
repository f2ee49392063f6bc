"""Whether containers are well: probes, hooks, and what a series of answers means."""
