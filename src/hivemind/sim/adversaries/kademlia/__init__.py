"""Nodes of the table that lie."""
