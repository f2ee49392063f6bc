"""One node in the real world: settings, assembly, start and stop, what the API asks of it."""
