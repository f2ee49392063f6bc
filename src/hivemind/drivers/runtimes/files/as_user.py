"""Looking at files with the rights of somebody else, on a thread that is made for that and ends afterwards.

What a user's command leaves may be named by a path that this user can turn into a link to anywhere. The kernel says
what he may read, if he is the one who asks.
"""

from __future__ import annotations

import ctypes
import os

from hivemind.errors import Unsupported

_libc = ctypes.CDLL(None, use_errno=True)
_SETGROUPS = {"x86_64": 116, "aarch64": 159, "riscv64": 159, "loongarch64": 159, "s390x": 206, "ppc64le": 81}
"""The call itself: the C library's function of that name changes all threads."""
_NOBODY_NEW = ctypes.c_uint(0xFFFFFFFF)
"""Changes nothing; what is returned is who it is."""

Identity = tuple[int, int, list[int]]
"""uid, gid, groups."""


def become(who: Identity) -> None:
    """For this thread only, for good, and only where files are concerned. Raises `OSError`, `Unsupported`."""
    uid, gid, others = who
    call = _SETGROUPS.get(os.uname().machine)
    if call is None:
        raise Unsupported(f"files cannot be read for another user on {os.uname().machine}")
    groups = (ctypes.c_uint * len(others))(*others)
    if _libc.syscall(call, len(others), groups) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "setgroups")
    for change, id in ((_libc.setfsgid, gid), (_libc.setfsuid, uid)):
        change(ctypes.c_uint(id))
        if change(_NOBODY_NEW) & 0xFFFFFFFF != id:
            raise PermissionError(1, f"files cannot be read as user {uid}")
