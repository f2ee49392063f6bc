"""The processes of a container whose processes are this machine's own, as /proc tells them.

Everything in /proc/<pid> may vanish while it is read: a process that does is left out.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable

from hivemind.drivers.runtimes.contract import ProcessInfo

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGESIZE")
_LONGEST_COMMAND = 4096


def processes(pids: Iterable[int], name_of: Callable[[int], str] = str) -> list[ProcessInfo]:
    """By pid. `name_of`: a user's name by its number as this machine counts. Blocks for some microseconds each."""
    booted = _booted()
    found = (_process(pid, name_of, booted) for pid in sorted(set(pids)))
    return [process for process in found if process is not None]


def _process(pid: int, name_of: Callable[[int], str], booted: int) -> ProcessInfo | None:
    try:
        directory = os.open(f"/proc/{pid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:  # all from one descriptor: a recycled pid cannot mix two processes
        name, fields = _stat(directory)
        user = name_of(os.fstat(directory).st_uid if fields[0] == "Z" else _user(directory))
        command = _read(directory, "cmdline")[:_LONGEST_COMMAND].rstrip(b"\0").replace(b"\0", b" ")
    except (OSError, ValueError, IndexError):
        return None
    finally:
        os.close(directory)
    return ProcessInfo(
        pid=pid,
        parent=int(fields[1]),
        user=user,
        state=fields[0],
        cpu_seconds=(int(fields[11]) + int(fields[12])) / _TICKS,
        memory=int(fields[21]) * _PAGE,
        started=booted + int(fields[19]) * 1000 // _TICKS,
        command=_printable(command.decode("utf-8", "replace")) or f"[{_printable(name)}]",
    )


def _stat(directory: int) -> tuple[str, list[str]]:
    """Its short name, and the fields from `state` on: the name may hold blanks and brackets itself."""
    head, _, rest = _read(directory, "stat").decode("utf-8", "replace").rpartition(")")
    return head.partition("(")[2], rest.split()


def _user(directory: int) -> int:
    """The effective user."""
    for line in _read(directory, "status").splitlines():
        if line.startswith(b"Uid:"):
            return int(line.split()[2])
    raise ValueError("a process without a user")


def _read(directory: int, name: str) -> bytes:
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        return os.read(fd, 65_536)
    finally:
        os.close(fd)


def _printable(text: str) -> str:
    """A process chooses its own command line: it must not write escape sequences to somebody's terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _booted() -> int:
    """Milliseconds since 1970 at which this machine was started."""
    return (time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) // 1_000_000
