"""Many conversations over one connection: messages, calls and streams, in frames that take turns."""
