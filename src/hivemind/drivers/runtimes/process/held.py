"""One command as the daemon knows it."""

from __future__ import annotations

import asyncio

from hivemind.drivers.runtimes.cgroups import Cgroup
from hivemind.drivers.runtimes.contract import Container, ContainerSpec, Exit, Status
from hivemind.drivers.runtimes.process.client import ShimClient
from hivemind.drivers.runtimes.process.record import Birth, Record


class Held:
    """`shim`: the one that runs it, or will; `begun`: it was asked to start and may run; `ended`: all of it is dead,
    or it is no more."""

    def __init__(
        self, spec: ContainerSpec, created: int, record: Record, cgroup: Cgroup | None, shim: ShimClient
    ) -> None:
        self.spec, self.created, self.record = spec, created, record
        self.cgroup, self.shim = cgroup, shim
        self.begun = False
        self.starting: asyncio.Task[int] | None = None
        self.birth: Birth | None = None
        self.exit: Exit | None = None
        self.ended = asyncio.Event()

    @property
    def running(self) -> bool:
        return self.birth is not None and self.exit is None

    def describe(self) -> Container:
        status = Status.EXITED if self.exit else Status.RUNNING if self.birth else Status.CREATED
        return Container(
            id=self.spec.id,
            status=status,
            pid=self.birth.pid if self.birth and self.running else 0,
            created=self.created,
            started=self.birth.started if self.birth else 0,
            exit=self.exit,
            labels=self.spec.labels,
        )

    async def settled(self) -> None:
        """Returns when it is known whether it started."""
        if self.starting is not None:
            await asyncio.wait([self.starting])
