"""Where benchmarks of real daemons keep their files: one place, one benchmark at a time, nothing left behind.

Processes, mounts and links live in enclosures and end with them even when the benchmark is killed. What a killed
one does leave, files and empty control groups, has names of its own and is removed before the next one begins.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE = Path(__file__).resolve().parent.parent
HOME = Path("/var/lib/hivemind-bench")
"""On the disk where the data of daemons usually is; a memory file system would flatter everyone."""

CGROUP = "hivemind-bench"
_CGROUPS = Path("/sys/fs/cgroup")
CACHE = Path(os.environ.get("HIVEMIND_CACHE") or CLONE / ".cache")


@contextmanager
def home() -> Iterator[Path]:
    """The empty directory; everything in it is gone afterwards. Waits for another benchmark to end."""
    if os.geteuid() != 0:
        raise SystemExit("error: this benchmark starts containers\nhint: run it as root")
    lock = os.open(HOME.parent, os.O_RDONLY | os.O_CLOEXEC)  # No file of ours that would stay.
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _remove()
        HOME.mkdir(mode=0o700)
        try:
            yield HOME
        finally:
            _remove()
    finally:
        os.close(lock)


def _remove() -> None:
    if HOME.exists():
        from bench.node import forget

        forget(HOME)
        shutil.rmtree(HOME)
    for group in _groups():
        for directory, _, _ in os.walk(group, topdown=False):
            os.rmdir(directory)


def _groups() -> Iterator[Path]:
    for pattern in (CGROUP, f"*/{CGROUP}"):
        yield from _CGROUPS.glob(pattern)
