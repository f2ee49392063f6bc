"""Opening things below a root directory, and knowing what they are before anything happens to them."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from hivemind.drivers.runtimes.oci import kernel
from hivemind.errors import HivemindError, Invalid, NotFound, Unavailable

_NAME_ONLY = os.O_PATH | os.O_NOFOLLOW
_libc = ctypes.CDLL(None, use_errno=True)

# What the kernel makes up as it is read: it has no size, no end, or reading it does something.
_MADE_UP = {
    0x9FA0,  # proc
    0x62656572,  # sysfs
    0x27E0EB,  # cgroup
    0x63677270,  # cgroup2
    0x1CD1,  # devpts
    0x19800202,  # mqueue
    0x64626720,  # debugfs
    0x74726163,  # tracefs
    0xCAFE4A11,  # bpf
    0x73636673,  # securityfs
}


def open_name(root: int, path: str) -> int:
    """A descriptor of the thing itself, a link included, with nothing opened: a fifo, a device are not touched."""
    return kernel.open_in_root(root, path or "/", _NAME_ONLY)


def open_directory(root: int, path: str) -> int:
    """Links are followed as a process with that root directory would follow them."""
    return kernel.open_in_root(root, path or "/", os.O_RDONLY | os.O_DIRECTORY)


def reopen(fd: int, flags: int) -> int:
    """The very thing that an O_PATH descriptor stands for, whatever has that name by now."""
    return os.open(f"/proc/self/fd/{fd}", flags | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)


def is_made_up(fd: int) -> bool:
    """Whether it lies on a file system like /proc, which holds no files that could be copied."""
    answer = ctypes.create_string_buffer(256)
    if _libc.fstatfs(fd, answer) != 0:
        return True
    kind = ctypes.c_ulong.from_buffer(answer).value
    return kind & 0xFFFFFFFF in _MADE_UP


def kind_of(mode: int) -> str:
    """For a sentence."""
    names = ((stat.S_ISDIR, "a directory"), (stat.S_ISLNK, "a link"), (stat.S_ISREG, "a file"))
    return next((name for test, name in names if test(mode)), "a device, a socket or a pipe")


@contextmanager
def plainly(path: str) -> Iterator[None]:
    """Says what the kernel refused in the hive's words, about `path` inside the container."""
    try:
        yield
    except OSError as error:
        raise refusal(error, path) from error


def refusal(error: OSError, path: str) -> HivemindError:
    match error.errno:
        case errno.ENOENT:
            return NotFound(
                f"there is no {path} in the container", hint="look with: hivemind exec TARGET ls -l"
            )
        case errno.ENOTDIR:
            return Invalid(f"a part of {path} is no directory in the container")
        case errno.ELOOP:
            return Invalid(f"{path} is a link to itself, or one that may not be followed")
        case errno.EXDEV:
            return Invalid(f"{path} leads out of the directory that was named")
        case errno.EROFS:
            return Invalid(f"{path} is read-only in the container", hint="name a place on a volume or tmpfs")
        case errno.EEXIST:
            return Invalid(f"a part of {path} is a link to nowhere in the container")
        case errno.EACCES | errno.EPERM:
            return Invalid(f"the daemon may not touch {path} in the container", hint="see who owns it: ls -l")
        case errno.ENOSPC | errno.EDQUOT:
            return Unavailable(f"there is no room left for {path}", hint="free some space and copy again")
        case errno.ENAMETOOLONG:
            return Invalid("a name is too long for the container's file system")
        case _:
            return Unavailable(f"{path}: {os.strerror(error.errno or 5)}")
