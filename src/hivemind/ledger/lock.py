"""The lock of a data directory: two daemons that wrote to one ledger would tear it apart.

The kernel drops the lock when its holder dies, however it dies, so a stale one cannot exist. The pid in the
file is only there to be shown.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from hivemind.errors import Conflict


class DirectoryLock:
    """Held from construction to `release`. Raises `Conflict` that names the holder's pid."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise Conflict(
                f"{directory} is in use by another daemon (pid {holder})",
                hint=f"stop process {holder} first, or give this daemon its own --data-dir",
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._fd)
