"""Wire formats and protocol machines, without a socket. Pure."""
