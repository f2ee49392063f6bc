"""One container as the daemon holds it: its record, its files, and descriptors of its live processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from hivemind.drivers.runtimes.cgroups import Cgroup
from hivemind.drivers.runtimes.held import HeldContainer
from hivemind.drivers.runtimes.oci.memory import MemoryWatch
from hivemind.drivers.runtimes.oci.record import Directory, Record


class Held(HeldContainer[Record]):
    def __init__(self, record: Record, directory: Directory, cgroup: Cgroup) -> None:
        super().__init__(record)
        self.directory = directory
        self.cgroup = cgroup
        self._memory: MemoryWatch | None = None
        self.init_fd = -1
        self.monitor_fd = -1

    def grasp(self) -> bool:
        """Opens descriptors of its monitor and its init; False when the monitor is not there any more.

        The monitor's command line names the bundle, so a recycled process id is not mistaken for it; and as long
        as the monitor lives, the init's id is not recycled either."""
        try:
            self.monitor_fd = os.pidfd_open(self.record.monitor)
            if not _names(self.record.monitor, str(self.directory.path)):
                raise ProcessLookupError
            self.init_fd = os.pidfd_open(self.record.pid)
        except ProcessLookupError:
            if self.monitor_fd >= 0 and not _names(self.record.monitor, str(self.directory.path)):
                os.close(self.monitor_fd)
                self.monitor_fd = -1
        return self.monitor_fd >= 0

    def watch_memory(self, on_kill: Callable[[], None]) -> None:
        """Calls `on_kill` when the kernel kills one of its processes for memory."""
        try:
            self._memory = MemoryWatch(self.cgroup, on_kill)
        except FileNotFoundError:  # it ended just now
            self._memory = None

    def lives(self) -> bool:
        """Whether its init does."""
        if self.init_fd < 0:
            return False
        try:
            signal.pidfd_send_signal(self.init_fd, 0)
        except ProcessLookupError:
            return False
        return True

    def signal(self, number: int) -> None:
        """To its init; nothing happens when that ended."""
        if self.init_fd < 0:
            return
        try:
            signal.pidfd_send_signal(self.init_fd, signal.Signals(number))
        except ProcessLookupError:
            pass

    def release(self) -> None:
        """Lets go of all descriptors; the container itself is not touched."""
        self.cgroup.close()
        if self._memory is not None:
            self._memory.close()
            self._memory = None
        for fd in (self.init_fd, self.monitor_fd):
            if fd >= 0:
                os.close(fd)
        self.init_fd = self.monitor_fd = -1


def _names(pid: int, argument: str) -> bool:
    """Whether the process has `argument` on its command line."""
    return argument in command_line(pid)


def command_line(pid: int) -> list[str]:
    """Empty when there is no such process, or a zombie."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb", buffering=0) as file:
            return os.fsdecode(file.read()).split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []
