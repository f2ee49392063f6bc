"""The root directory of a container, as a descriptor that its changes cannot lead astray."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from hivemind.drivers.runtimes.contract import ProcessInfo
from hivemind.drivers.runtimes.files import Owners, owners_of, read_tar, write_tar
from hivemind.drivers.runtimes.oci import users
from hivemind.drivers.runtimes.oci.container import Held
from hivemind.drivers.runtimes.processes import processes
from hivemind.errors import Conflict


def read_files(held: Held, path: str) -> AsyncIterator[bytes]:
    with _root_of(held) as (root, owners):
        return read_tar(root, path, owners)


async def write_files(held: Held, path: str, chunks: AsyncIterator[bytes]) -> None:
    with _root_of(held) as (root, owners):
        await write_tar(root, path, chunks, owners)


def processes_of(held: Held) -> list[ProcessInfo]:
    """Blocks."""
    with _root_of(held) as (root, owners):
        names = users.names(root)

    def name_of(uid: int) -> str:
        inside, _ = owners.inside(uid, 0)
        return names.get(inside, str(inside))

    return processes(held.cgroup.processes(), name_of)


@contextmanager
def _root_of(held: Held) -> Iterator[tuple[int, Owners]]:
    """With everything that is mounted in it, and whose files are whose. `Conflict` once it ended."""
    root, owners = _opened(held)
    try:
        yield root, owners
    finally:
        os.close(root)


def _opened(held: Held) -> tuple[int, Owners]:
    pid, root = held.record.pid, -1
    try:
        owners = owners_of(pid)
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if held.exit is None and held.lives():  # so the number was not given to another process meanwhile
            return root, owners
    except OSError:
        pass
    if root >= 0:
        os.close(root)
    raise Conflict(
        f"container {held.id} has ended",
        hint="what it left can be copied out, but nothing in",
    )
