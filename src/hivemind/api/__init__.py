"""REST, server-sent events and WebSockets: how everything outside speaks with a node."""
