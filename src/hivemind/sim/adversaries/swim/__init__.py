"""Those who lie to SWIM."""
