"""What containerd says of a container or command that cannot be, in plain words."""

from __future__ import annotations

from hivemind.drivers.runtimes.oci import monitor
from hivemind.errors import HivemindError, Unavailable

_PREFIXES = (
    "failed to create shim task: ",
    "failed to create task for container: ",
    "OCI runtime create failed: ",
    "OCI runtime exec failed: ",
    "OCI runtime start failed: ",
    "failed to start shim: ",
)


def explain(error: HivemindError) -> HivemindError:
    """Of the OCI runtime below it, which containerd hands on with its own words around; others stay as they are."""
    if not isinstance(error, Unavailable):
        return error
    said = error.message.removesuffix(": unknown")
    told = said
    for prefix in _PREFIXES:
        told = told.removeprefix(prefix)
    return monitor.explain(told) if told != said else error
