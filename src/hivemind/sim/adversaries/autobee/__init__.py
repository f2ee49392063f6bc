"""Those who lie to the shared store."""
