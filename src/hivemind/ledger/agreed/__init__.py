"""The engine of a hive of several nodes: drives `protocols.pbft`, keeps what that must not forget, executes what it
decides. Imported by nodes of such hives only."""
