"""Those who lie on the way between two nodes, or to whoever they call."""
