"""A tag that a command and all it ever starts carry and cannot take off. Standard library only: the shim uses it.

It is a time namespace of its own, whose clocks are the machine's: it is inherited, survives a new session and an
emptied environment, costs 20 microseconds, and nothing else of it is used. It needs root and Linux 6.1.
"""

from __future__ import annotations

import ctypes
import errno
import os

_libc = ctypes.CDLL(None, use_errno=True)
_NEW_TIME = 0x80


def usable() -> bool:
    """Whether children can be tagged; afterwards they are. Older kernels refuse to spawn into another namespace."""
    if not renew():
        return False
    try:
        os.posix_spawn("/", ["/"], {})
    except OSError as error:
        if error.errno == errno.EINVAL:
            with open("/proc/self/ns/time") as own:
                _libc.setns(own.fileno(), _NEW_TIME)
            return False
    return True


def renew() -> int:
    """What is started from now on carries a new tag: its number. 0: it cannot be had."""
    if _libc.unshare(_NEW_TIME) != 0:
        return 0
    return of("self", "time_for_children")


def of(pid: int | str, name: str = "time") -> int:
    """0 when there is no such process, or it is dead and only waits to be reaped."""
    try:
        return os.stat(f"/proc/{pid}/ns/{name}").st_ino
    except OSError:
        return 0


def take(pid: int) -> None:
    """The calling process takes the tag of `pid`. Raises `OSError`."""
    fd = os.open(f"/proc/{pid}/ns/time", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(fd, _NEW_TIME) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(fd)
