"""Containers of a containerd that the machine has already, through its native API."""
