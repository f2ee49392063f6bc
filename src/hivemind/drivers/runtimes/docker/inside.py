"""What runs in a container, seen from this machine: its control group, its processes, its root directory.

The engine could tell most of it, but each answer costs it milliseconds, and of memory file systems it knows nothing.
A process number that it gives is trusted only if that process is in the container: the engine may count otherwise.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from hivemind.drivers.runtimes.cgroups import Cgroup
from hivemind.drivers.runtimes.contract import ProcessInfo, Stats
from hivemind.drivers.runtimes.docker.container import Held
from hivemind.drivers.runtimes.files import Owners, owners_of
from hivemind.drivers.runtimes.oci import users
from hivemind.drivers.runtimes.oci.borrowed import network_bytes
from hivemind.drivers.runtimes.processes import processes
from hivemind.errors import Conflict


def usage(held: Held) -> Stats:
    """Raises `Conflict` when it does not run here."""
    try:
        used = cgroup_of(held).usage()
        received, sent = network_bytes(held.pid) if held.own_network else (0, 0)
    except OSError as error:
        raise _gone(held) from error
    return Stats(**used._asdict(), net_rx=received, net_tx=sent)


def processes_of(held: Held) -> list[ProcessInfo]:
    """Blocks. Raises `Conflict` when it does not run here."""
    cgroup = cgroup_of(held)
    with root_of(held) as (root, owners):
        names = users.names(root)

    def name_of(uid: int) -> str:
        inside, _ = owners.inside(uid, 0)
        return names.get(inside, str(inside))

    return processes(cgroup.processes(), name_of)


def kill_session(held: Held, leader: int) -> bool:
    """SIGKILL to a command in the container and all of its session; False when that is no process of it. Blocks."""
    if not os.path.exists(f"/proc/{leader}"):
        return True
    if _group(leader, held.engine_id) is None:
        return False
    for member in cgroup_of(held).processes():
        try:
            if member == leader or os.getsid(member) == leader:
                os.kill(member, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return True


def cgroup_of(held: Held) -> Cgroup:
    if held.cgroup is None:
        group = _group(held.pid, held.engine_id) if held.pid else None
        if group is None:
            raise _gone(held)
        held.cgroup = Cgroup(group)
    return held.cgroup


@contextmanager
def root_of(held: Held) -> Iterator[tuple[int, Owners]]:
    """A descriptor of its root directory with everything that is mounted in it, and whose files are whose."""
    try:
        owners = owners_of(held.pid)
        root = os.open(f"/proc/{held.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _gone(held) from error
    try:
        if _group(held.pid, held.engine_id) is None:
            raise _gone(held)
        yield root, owners
    finally:
        os.close(root)


def _group(pid: int, engine_id: str) -> str | None:
    """The path of the process's control group, if that is the container's."""
    try:
        with open(f"/proc/{pid}/cgroup") as file:
            rows = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return None
    # Version 1 has a path for each controller; the one for memory is the container's own in every layout.
    paths = {controllers: path for _, controllers, path in rows}
    path = paths.get("memory") or paths.get("", "")
    return path if engine_id in path else None


def _gone(held: Held) -> Conflict:
    return Conflict(
        f"container {held.id} does not run on this machine (any more)",
        hint="an engine in a virtual machine or another process namespace cannot be looked into",
    )
