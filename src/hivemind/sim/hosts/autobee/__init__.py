"""The shared store in a simulated world: writers whose logs merge into one view."""
