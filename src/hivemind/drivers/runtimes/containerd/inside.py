"""A running container as this machine sees it: its processes and its root directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from hivemind.drivers.runtimes.containerd.container import Held
from hivemind.drivers.runtimes.contract import ProcessInfo
from hivemind.drivers.runtimes.oci import users
from hivemind.drivers.runtimes.processes import processes
from hivemind.errors import Conflict


@contextmanager
def root_of(held: Held) -> Iterator[int]:
    """A descriptor of its root directory with everything that is mounted in it. `Conflict` once it ended."""
    try:
        root = os.open(f"/proc/{held.record.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if held.exit is not None:
                raise ProcessLookupError
            yield root
        finally:
            os.close(root)
    except (FileNotFoundError, ProcessLookupError):
        raise Conflict(
            f"container {held.id} has ended, and its files are taken down",
            hint="copy while it runs, or keep them on a volume",
        ) from None


def processes_of(held: Held) -> list[ProcessInfo]:
    """Blocks."""
    with root_of(held) as root:
        names = users.names(root)
    return processes(held.cgroup.processes(), lambda uid: names.get(uid, str(uid)))
