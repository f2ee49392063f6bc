"""The guard of the disk: nothing more is brought to it when it would be nearly full.

A full disk hurts everyone on the machine, the hive's own ledger first, so images stop well before.
"""

from __future__ import annotations

import os
from pathlib import Path

from hivemind.drivers.images.blobs import NoRoom, disk_errors
from hivemind.model.quantity import show_bytes

_SHARE = 20
_MOST = 5 * 2**30


class Room:
    def __init__(self, root: Path, reserve: int = 0) -> None:
        """`reserve`: bytes that stay free; 0: a twentieth of the disk, at most 5 GiB."""
        self._root = root
        self._reserve = reserve

    def free(self) -> int:
        status = os.statvfs(self._root)
        return status.f_bavail * status.f_frsize

    def reserve(self) -> int:
        if self._reserve:
            return self._reserve
        status = os.statvfs(self._root)
        return min(status.f_blocks * status.f_frsize // _SHARE, _MOST)

    @property
    def low(self) -> bool:
        return self.free() < self.reserve() or not self._names_left()

    def _names_left(self) -> bool:
        """A disk is full of small files long before its bytes are used up."""
        status = os.statvfs(self._root)
        return not status.f_files or status.f_favail > status.f_files // 100

    def check(self, size: int) -> None:
        """Raises `NoRoom` when `size` more bytes would leave too little."""
        with disk_errors("an image", self._root):
            free, reserve = self.free(), self.reserve()
            names_left = self._names_left()
        if not names_left:
            raise NoRoom(
                f"the disk that holds {self._root} has hardly any files left to give (inodes)",
                hint="remove what is not needed (hivemind image prune --all)",
            )
        if free - size < reserve:
            raise NoRoom(
                f"the disk that holds {self._root} is nearly full: {show_bytes(free)} are free, {show_bytes(size)} "
                f"more are needed and {show_bytes(reserve)} must stay free",
                hint="remove what is not needed (hivemind image prune --all) or free space on that disk",
            )
