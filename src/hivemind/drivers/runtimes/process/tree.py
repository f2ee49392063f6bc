"""All processes of one command, however they were forked. Standard library only: the shim uses it too.

With control groups the kernel keeps the list. Without, each process carries a mark in its environment, which its
children inherit; only a program that clears its environment *and* leaves its session escapes.
"""

from __future__ import annotations

import os
import signal

MARK = "HIVEMIND_COMMAND"


def start_time(pid: int) -> int:
    """Clock ticks between boot and its start; with the pid it names a process for good. 0: there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError):
        return 0


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def members(groups: list[str], mark: str, session: int) -> list[int]:
    """Living processes. `groups`: paths of `cgroup.procs` files; empty: look for the mark and the session."""
    if groups:
        return [pid for pid in _listed(groups[0]) if _alive(pid)]
    wanted = f"{MARK}={mark}".encode()
    others = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
    return [pid for pid in others if _belongs(pid, wanted, session)]


def kill_all(groups: list[str], mark: str, session: int) -> list[int]:
    """SIGKILL to every member; those who were still alive. Call again until there is none."""
    alive = members(groups, mark, session)
    for pid in alive:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return alive


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
