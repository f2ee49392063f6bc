"""Channels in a simulated world: nodes that call each other, over streams that break, with strangers on the line."""
