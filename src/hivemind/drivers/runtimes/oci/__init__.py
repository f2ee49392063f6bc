"""The embedded OCI runtime. Its pieces are imported one by one: other runtimes use some of them."""
