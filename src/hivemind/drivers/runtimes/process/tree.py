"""All processes of one command, however they were forked. Standard library only: the shim uses it too.

With control groups the kernel keeps the list. Without, they are those below its main process, and of those whose
parents died, which are the shim's children then, those that carry its tag (see `tag`). Where there is no shim, or no
tag, each process has a mark in its environment, which its children inherit, and its session.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable

MARK = "HIVEMIND_COMMAND"
_LISTED = os.path.exists(f"/proc/self/task/{os.getpid()}/children")
"""Whether this kernel lists children; without, the parents of all processes are looked at."""


def start_time(pid: int) -> int:
    """Clock ticks between boot and its start; with the pid it names a process for good. 0: there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError):
        return 0


def session_of(pid: int) -> int:
    """0: there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[3])
    except (OSError, IndexError):
        return 0


def living_session(pid: int) -> int:
    """0: there is no such process, or it is dead and only waits to be reaped."""
    return session_of(pid) if _alive(pid) else 0


def mark_of(pid: int) -> str:
    """Empty when it has none, or is no more."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            words = file.read().split(b"\0")
    except OSError:
        return ""
    wanted = f"{MARK}=".encode()
    return next((os.fsdecode(word[len(wanted) :]) for word in words if word.startswith(wanted)), "")


def open_children() -> int:
    """Where this kernel lists the children of this process, to be read again and again; -1: nowhere."""
    own = os.getpid()
    return os.open(f"/proc/{own}/task/{own}/children", os.O_RDONLY | os.O_CLOEXEC) if _LISTED else -1


def children(pid: int) -> list[int]:
    """Dead ones that were not yet reaped included."""
    if not _LISTED:
        return [child for child in pids() if _parent(child) == pid]
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []  # it ended meanwhile
    found: list[int] = []
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
        except OSError:
            continue
    return found


def descendants(pid: int) -> list[int]:
    """`pid` and all below it."""
    found = [pid]
    for one in found:
        found += children(one)
    return found


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def members(groups: list[str], mark: str, session: int) -> list[int]:
    """Living processes. `groups`: paths of `cgroup.procs` files; empty: look for the mark and the session."""
    if groups:
        return [pid for pid in _listed(groups[0]) if _alive(pid)]
    wanted = f"{MARK}={mark}".encode()
    return [pid for pid in pids() if pid != os.getpid() and _belongs(pid, wanted, session)]


def kill_all(groups: list[str], mark: str, session: int) -> list[int]:
    """SIGKILL to every member; those who were still alive. Call again until there is none."""
    alive = members(groups, mark, session)
    kill(alive)
    return alive


def kill(pids: Iterable[int]) -> None:
    """SIGKILL to those that are still there."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def _listed(path: str) -> list[int]:
    """Of the group and of those that a command made inside it."""
    try:
        with open(path, "rb") as file:
            found = [int(pid) for pid in file.read().split()]
        directory = os.path.dirname(path)
        if os.stat(directory).st_nlink > 2:
            for entry in os.scandir(directory):
                if entry.is_dir(follow_symlinks=False):
                    found += _listed(f"{entry.path}/cgroup.procs")
    except OSError:
        return []
    return found


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def _belongs(pid: int, wanted: bytes, session: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        if fields[0] in (b"Z", b"X"):
            return False
        if session and int(fields[3]) == session:
            return True
        with open(f"/proc/{pid}/environ", "rb") as file:
            marks = file.read().split(b"\0")
        return any(mark == wanted or mark.startswith(wanted + b"/") for mark in marks)
    except OSError:
        return False
