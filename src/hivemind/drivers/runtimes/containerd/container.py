"""One container as the daemon holds it: its record, its files, and a descriptor of its live process."""

from __future__ import annotations

import asyncio
import os

from hivemind.drivers.runtimes.cgroups import Cgroup
from hivemind.drivers.runtimes.containerd.record import Directory, Record
from hivemind.drivers.runtimes.containerd.spool import Spool
from hivemind.drivers.runtimes.held import HeldContainer


class Held(HeldContainer[Record]):
    def __init__(self, record: Record, directory: Directory, cgroup: Cgroup, name: str) -> None:
        super().__init__(record)
        self.directory = directory
        self.cgroup = cgroup
        self.name = name
        """What containerd calls it, and its snapshot."""
        self.spool = spool_of(record, directory)
        self.secret_env: dict[str, str] | None = None
        """None: not known since this daemon started."""
        self.pidfd = -1

    def grasp(self) -> bool:
        """Opens a descriptor of its process; False when that is not there any more."""
        try:
            self.pidfd = os.pidfd_open(self.record.pid)
        except ProcessLookupError:
            return False
        return True

    def release(self) -> None:
        """Lets go of all descriptors; the container itself is not touched."""
        self.cgroup.close()
        if self.pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self.pidfd)
            os.close(self.pidfd)
            self.pidfd = -1


def spool_of(record: Record, directory: Directory) -> Spool:
    return Spool(directory.path, max_size=record.spec.log_max_size, max_files=record.spec.log_max_files)
