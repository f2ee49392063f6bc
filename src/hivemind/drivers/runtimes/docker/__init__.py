"""Containers by a docker engine of this machine, through its API."""
