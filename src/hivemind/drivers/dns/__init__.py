"""The name service on this machine: sockets, and the road to the machine's own name servers."""
