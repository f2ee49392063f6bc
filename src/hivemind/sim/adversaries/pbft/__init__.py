"""Those who lie to PBFT."""
