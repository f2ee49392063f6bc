"""Adaptors: what makes a world of each protocol. `registry` has their names."""
