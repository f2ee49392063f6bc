"""Jobs and runs as state keeps them: what operations do to them, what follows from what happens."""
