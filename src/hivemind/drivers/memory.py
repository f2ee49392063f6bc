"""A directory that no disk ever sees: on a tmpfs of its own, or, without root, on one that is there already."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from pathlib import Path

from hivemind.drivers.runtimes.oci import kernel
from hivemind.errors import Unavailable, Unsupported

log = logging.getLogger(__name__)

_MEMORY = ("tmpfs", "ramfs")
_NOSUID, _NODEV, _NOEXEC = 0x2, 0x4, 0x8


def memory_directory(path: Path) -> Path:
    """`path`, made for its owner alone. As root a tmpfs is mounted there, which is never swapped out where the
    kernel knows how (6.4). Raises `Unsupported` where neither that nor a tmpfs below it can be had."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.geteuid() == 0 and not os.path.ismount(path):
            _mount(path)
    except OSError as error:
        raise Unavailable(f"{path} cannot be kept in memory: {error.strerror}") from error
    if not in_memory(path):
        raise Unsupported(
            f"{path} lies on a disk, where no secret may be written",
            hint="start the daemon as root, or with --run-dir on a tmpfs such as /run/user/UID or /dev/shm",
        )
    return path


def prefer_memory(path: Path) -> None:
    """Puts `path` into memory where that is easily had: as root, and nothing is in it yet."""
    if os.geteuid() == 0 and not in_memory(path) and not (path.is_dir() and any(path.iterdir())):
        try:
            memory_directory(path)
        except (Unavailable, Unsupported) as error:
            log.warning("%s", error)


def forget_memory(path: Path) -> None:
    """Takes the directory away with all that is in it. Idempotent."""
    while os.path.ismount(path):
        kernel.umount(str(path))
    shutil.rmtree(path, ignore_errors=True)


def in_memory(path: Path) -> bool:
    """Whether what is written there stays off every disk (but perhaps the swap)."""
    real, best, kind = os.path.realpath(path), "", ""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, found, *_ = line.split()
        place = place.encode().decode("unicode_escape")
        inside = real == place or real.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= len(best):
            best, kind = place, found
    return kind in _MEMORY


def _mount(path: Path) -> None:
    flags = _NOSUID | _NODEV | _NOEXEC
    try:
        kernel.mount("hivemind", str(path), "tmpfs", flags, "mode=0700,noswap")
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        kernel.mount("hivemind", str(path), "tmpfs", flags, "mode=0700")
