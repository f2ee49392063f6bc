"""Plain commands of the host as containers: for jobs, and where nothing else is possible.

`runtime` is the daemon's side. `shim` is one small process for each node that is the parent of all commands, so
that they outlive the daemon. This file imports nothing: the shim loads it too.
"""
