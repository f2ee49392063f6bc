"""Control groups, versions 1 and 2: what a container uses, whether memory ran out, and killing all of it.

Limits are not written here: the OCI runtime does that. Readers keep their files open and read them in place,
which costs microseconds; opening them each time would cost ten times as much.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
from pathlib import Path
from typing import NamedTuple

from hivemind.errors import Unavailable

ROOT = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60
_PATIENCE = 5.0


class Usage(NamedTuple):
    cpu_seconds: float
    memory: int
    """Bytes, without reclaimable file cache."""
    memory_limit: int
    """0: none."""
    pids: int


def unified(root: Path = ROOT) -> bool:
    """Whether this machine has version 2 only (in the hybrid layout the controllers are still version 1)."""
    return (root / "cgroup.controllers").exists()


def mounted(root: Path = ROOT) -> bool:
    """Whether control groups are to be seen at all: a namespace may have a bare /sys."""
    return unified(root) or (root / "memory" / "cgroup.procs").exists()


class Cgroup:
    """One group by its path below the root (`/hivemind-…/<id>`), which need not exist (any more)."""

    def __init__(self, path: str, root: Path = ROOT) -> None:
        self.path = path.strip("/")
        self._root = root
        self._unified = unified(root)
        self._open: dict[str, int] = {}

    def usage(self) -> Usage:
        """Raises `FileNotFoundError` or `OSError` once the group is gone."""
        return self._usage_v2() if self._unified else self._usage_v1()

    def oom_kills(self) -> int:
        """How many of its processes the kernel has killed at the memory limit; 0 when the group is gone."""
        try:
            if self._unified:
                return self._fields("memory", "memory.events").get("oom_kill", 0)
            return self._fields("memory", "memory.oom_control").get("oom_kill", 0)
        except OSError:
            return 0

    def memory_file(self) -> Path:
        """The file whose changes announce memory running out: by inotify on version 2, by eventfd on 1."""
        return self._file("memory", "memory.events" if self._unified else "memory.oom_control")

    def processes(self) -> list[int]:
        """Of this group and of those inside it."""
        found: set[int] = set()
        for directory in self._directories():
            for inner in _inner_first(directory):
                try:
                    found.update(int(pid) for pid in (inner / "cgroup.procs").read_text().split())
                except (FileNotFoundError, OSError):
                    continue
        return sorted(found)

    def kill(self) -> None:
        """SIGKILL to all of it, until nothing is left. Blocks; raises `Unavailable` if some will not die."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            left = [pid for pid in self.processes() if not _is_dead(pid)]
            if not left:
                return
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"processes {left} survive SIGKILL",
                    hint="they wait for a device or a file system that does not answer; see dmesg",
                )
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.002)

    def remove(self) -> None:
        """Kills what is left and removes the group everywhere. Blocks."""
        self.close()
        self.kill()
        deadline = time.monotonic() + _PATIENCE
        for directory in self._directories():
            for inner in _inner_first(directory):
                while not _removed(inner):
                    if time.monotonic() > deadline:
                        raise Unavailable(f"the control group {inner} stays busy")
                    time.sleep(0.002)

    def close(self) -> None:
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def _usage_v1(self) -> Usage:
        used = int(self._read("memory", "memory.usage_in_bytes"))
        cache = self._fields("memory", "memory.stat").get("total_inactive_file", 0)
        limit = int(self._read("memory", "memory.limit_in_bytes"))
        return Usage(
            cpu_seconds=int(self._read("cpuacct", "cpuacct.usage")) / 1e9,
            memory=max(0, used - cache),
            memory_limit=0 if limit >= _UNLIMITED else limit,
            pids=int(self._read("pids", "pids.current")),
        )

    def _usage_v2(self) -> Usage:
        used = int(self._read("memory", "memory.current"))
        cache = self._fields("memory", "memory.stat").get("inactive_file", 0)
        limit = self._read("memory", "memory.max").strip()
        return Usage(
            cpu_seconds=self._fields("cpu", "cpu.stat").get("usage_usec", 0) / 1e6,
            memory=max(0, used - cache),
            memory_limit=0 if limit == b"max" else int(limit),
            pids=int(self._read("pids", "pids.current")),
        )

    def _file(self, controller: str, name: str) -> Path:
        return self._root / ("" if self._unified else controller) / self.path / name

    def _read(self, controller: str, name: str) -> bytes:
        fd = self._open.get(name)
        if fd is None:
            fd = self._open[name] = os.open(self._file(controller, name), os.O_RDONLY | os.O_CLOEXEC)
        return os.pread(fd, 8192, 0)

    def _fields(self, controller: str, name: str) -> dict[str, int]:
        rows = (line.split() for line in self._read(controller, name).decode().splitlines())
        return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}

    def _directories(self) -> list[Path]:
        """This group's directory in every hierarchy where it is."""
        if self._unified:
            every = [self._root]
        else:
            with os.scandir(self._root) as entries:
                every = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
        return [group for group in (root / self.path for root in every) if group.is_dir()]


def _inner_first(directory: Path) -> list[Path]:
    return [Path(path) for path, _, _ in os.walk(directory, topdown=False)]


def _removed(directory: Path) -> bool:
    """False while its last process is still being taken down."""
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if (
            error.errno == errno.ENOTEMPTY
        ):  # not a real hierarchy: plain files that a runtime wrote into a cover
            shutil.rmtree(directory, ignore_errors=True)
            return True
        if error.errno == errno.EBUSY:
            return False
        raise
    return True


def _is_dead(pid: int) -> bool:
    """A zombie is dead, though listed: whoever must reap it may be late."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"
