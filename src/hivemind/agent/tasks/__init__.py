"""Attempts of tasks on this node: begun once, followed to their end, reported, and what they leave kept."""
