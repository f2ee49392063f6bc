"""What goes from node to node: channels, datagrams, finding and watching each other."""
