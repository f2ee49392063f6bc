"""One container as the daemon holds it: its record, its files, and a descriptor of its live process."""

from __future__ import annotations

import asyncio
import os

from hivemind.drivers.runtimes.cgroups import Cgroup
from hivemind.drivers.runtimes.containerd.record import Directory, Record
from hivemind.drivers.runtimes.containerd.spool import Spool
from hivemind.drivers.runtimes.contract import Container, Exit, Status
from hivemind.errors import Conflict


class Held:
    def __init__(self, record: Record, directory: Directory, cgroup: Cgroup, name: str) -> None:
        self.record = record
        self.directory = directory
        self.cgroup = cgroup
        self.name = name
        """What containerd calls it, and its snapshot."""
        self.spool = spool_of(record, directory)
        self.busy = asyncio.Lock()
        self.ended = asyncio.Event()
        self.exit: Exit | None = None
        self.secret_env: dict[str, str] | None = None
        """None: not known since this daemon started."""
        self.pidfd = -1

    @property
    def id(self) -> str:
        return self.record.spec.id

    @property
    def status(self) -> Status:
        if self.exit is not None:
            return Status.EXITED
        return Status.RUNNING if self.record.started else Status.CREATED

    def describe(self) -> Container:
        return Container(
            id=self.id,
            status=self.status,
            pid=self.record.pid if self.status is Status.RUNNING else 0,
            created=self.record.created,
            started=self.record.started,
            exit=self.exit,
            labels=self.record.spec.labels,
            image=self.record.spec.image,
        )

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

    def must_run(self, what: str) -> None:
        if self.status is not Status.RUNNING:
            raise Conflict(
                f"cannot {what}: container {self.id} is {self.status}",
                hint="it must be running",
            )

    def must_live(self, what: str) -> None:
        if self.status is Status.EXITED:
            raise Conflict(f"cannot {what}: container {self.id} has ended", hint="read its log instead")


def spool_of(record: Record, directory: Directory) -> Spool:
    return Spool(directory.path, max_size=record.spec.log_max_size, max_files=record.spec.log_max_files)
