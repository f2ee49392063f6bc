"""A whole cluster on this machine, from one file: real daemons, each with data, sockets and ports of its own."""
