"""Volumes: directories that outlive containers. One contract, a driver a kind of storage."""
