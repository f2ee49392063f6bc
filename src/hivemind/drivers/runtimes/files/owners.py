"""Whose a file is: numbers inside a container's user namespace and the same users' numbers on this machine."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import NamedTuple

NOBODY = 65_534
"""Who owns what nobody inside owns."""

Ranges = tuple[tuple[int, int, int], ...]
"""First number inside, first number here, how many: the lines of /proc/<pid>/uid_map."""

_EVERYONE: Ranges = ((0, 0, 2**32 - 1),)
_CAPABILITY_VERSION = 0x20080522
_libc = ctypes.CDLL(None, use_errno=True)


class Owners(NamedTuple):
    uids: Ranges
    gids: Ranges

    def inside(self, uid: int, gid: int) -> tuple[int, int]:
        return _inside(self.uids, uid), _inside(self.gids, gid)

    def outside(self, uid: int, gid: int) -> tuple[int, int] | None:
        """None when the container has no such user or group."""
        found = _outside(self.uids, uid), _outside(self.gids, gid)
        return None if found[0] is None or found[1] is None else (found[0], found[1])

    def act_as_root(self) -> None:
        """Makes this *thread* create files as the container's root, with the rights it has now. It cannot go back.

        On a volume whose numbers are mapped nobody else may create anything: the others have no number there."""
        root = self.outside(0, 0)
        if root is None or root == (0, 0) or os.geteuid() != 0:
            return
        _libc.setfsgid(ctypes.c_uint(root[1]))
        _libc.setfsuid(ctypes.c_uint(root[0]))  # which takes rights over files away, so they are taken back
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
        sets = (ctypes.c_uint32 * 6)()
        if _libc.capget(header, sets) == 0:
            sets[0], sets[3] = sets[1], sets[4]  # effective = permitted
            _libc.capset(header, sets)


SAME = Owners(_EVERYONE, _EVERYONE)
"""No user namespace of its own."""


def owners_of(pid: int) -> Owners:
    """Of the container that this process is in. Raises `FileNotFoundError` when it is gone."""
    return Owners(_ranges(pid, "uid_map"), _ranges(pid, "gid_map"))


def _ranges(pid: int, name: str) -> Ranges:
    lines = Path(f"/proc/{pid}/{name}").read_text().splitlines()
    return tuple((int(first), int(here), int(count)) for first, here, count in map(str.split, lines))


def _inside(ranges: Ranges, number: int) -> int:
    for first, here, count in ranges:
        if here <= number < here + count:
            return first + number - here
    return NOBODY


def _outside(ranges: Ranges, number: int) -> int | None:
    for first, here, count in ranges:
        if first <= number < first + count:
            return here + number - first
    return None
