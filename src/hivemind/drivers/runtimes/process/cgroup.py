"""Control groups for plain commands: made, limited and entered here; read and removed by `runtimes.cgroups`."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Collection
from pathlib import Path

from hivemind.drivers.runtimes.cgroups import ROOT, Cgroup, unified
from hivemind.errors import Unavailable, Unsupported

_PERIOD = 100_000
"""Microseconds over which a CPU quota is counted."""


class ControlGroups:
    """All groups of one runtime, below one group of its own."""

    def __init__(self, name: str, root: Path = ROOT) -> None:
        self._name, self._root = name, root
        self._unified = unified(root)

    def open(self) -> str:
        """Makes the parent group; empty, or why this daemon cannot have control groups."""
        try:
            for parent in self._directories(self._name):
                parent.mkdir(exist_ok=True)
                if self._unified:
                    for directory in (self._root, parent):
                        (directory / "cgroup.subtree_control").write_text("+cpu +memory +pids")
        except OSError as error:
            return f"control groups are not writable here ({error.strerror})"
        return ""

    def create(self, id: str, *, cpus: float, memory: int, pids: int) -> Cgroup:
        """A group with these limits (0: none). Nothing is left when it fails."""
        group = self.group(id)
        try:
            for directory in self._directories(f"{self._name}/{id}"):
                directory.mkdir(exist_ok=True)
            self._limit(id, cpus, memory, pids)
        except OSError as error:
            group.remove()
            if error.errno in (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS):
                raise Unsupported(
                    f"this machine cannot limit a command: {error.strerror} ({error.filename})",
                    hint="leave out cpus, memory and pids, or enable these control groups",
                ) from error
            raise Unavailable(f"cannot make a control group: {error.strerror}") from error
        except BaseException:
            group.remove()
            raise
        return group

    def group(self, id: str) -> Cgroup:
        return Cgroup(f"{self._name}/{id}", self._root)

    def find(self, id: str) -> Cgroup | None:
        """None when it has none."""
        first = self._directories(f"{self._name}/{id}")[0]
        return self.group(id) if first.is_dir() else None

    def strays(self, known: Collection[str]) -> list[Cgroup]:
        """Groups of commands that are not known, left by a daemon that was killed while it made them."""
        found: set[str] = set()
        for parent in self._directories(self._name):
            with contextlib.suppress(FileNotFoundError):
                found.update(
                    entry.name for entry in os.scandir(parent) if entry.is_dir(follow_symlinks=False)
                )
        return [self.group(id) for id in sorted(found.difference(known))]

    def members(self, id: str) -> list[str]:
        """The files through which a process enters the group."""
        return [str(directory / "cgroup.procs") for directory in self._directories(f"{self._name}/{id}")]

    def remove(self) -> None:
        """The parent, once it is empty."""
        for parent in self._directories(self._name):
            with contextlib.suppress(FileNotFoundError):
                parent.rmdir()

    def _directories(self, path: str) -> list[Path]:
        if self._unified:
            return [self._root / path]
        return [self._root / controller / path for controller in ("pids", "memory", "cpuacct", "cpu")]

    def _limit(self, id: str, cpus: float, memory: int, pids: int) -> None:
        if self._unified:
            group = self._root / self._name / id
            if cpus:
                (group / "cpu.max").write_text(f"{round(cpus * _PERIOD)} {_PERIOD}")
            if memory:
                (group / "memory.max").write_text(str(memory))
                with contextlib.suppress(FileNotFoundError):  # a kernel without swap accounting
                    (group / "memory.swap.max").write_text("0")
            if pids:
                (group / "pids.max").write_text(str(pids))
            return
        below = f"{self._name}/{id}"
        if cpus:
            (self._root / "cpu" / below / "cpu.cfs_period_us").write_text(str(_PERIOD))
            (self._root / "cpu" / below / "cpu.cfs_quota_us").write_text(str(round(cpus * _PERIOD)))
        if memory:
            (self._root / "memory" / below / "memory.limit_in_bytes").write_text(str(memory))
            swap = self._root / "memory" / below / "memory.memsw.limit_in_bytes"
            if swap.exists():  # only where the kernel counts swap
                swap.write_text(str(memory))
        if pids:
            (self._root / "pids" / below / "pids.max").write_text(str(pids))
