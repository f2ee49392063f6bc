"""A container as a daemon holds it: what is told of it, and what may be asked of it in the state it is in."""

from __future__ import annotations

import asyncio
from typing import Generic, Protocol, TypeVar

from hivemind.drivers.runtimes.contract import Container, ContainerSpec, Exit, Status
from hivemind.errors import Conflict


class Record(Protocol):
    """What a runtime keeps of a container in a file of its own."""

    @property
    def spec(self) -> ContainerSpec: ...
    @property
    def pid(self) -> int: ...
    @property
    def created(self) -> int: ...
    @property
    def started(self) -> int:
        """Milliseconds since 1970; 0: not yet."""


R = TypeVar("R", bound=Record)


class HeldContainer(Generic[R]):
    """`busy` is held by whoever changes it; `ended` is set once `exit` is known."""

    def __init__(self, record: R) -> None:
        self.record = record
        self.busy = asyncio.Lock()
        self.ended = asyncio.Event()
        self.exit: Exit | None = None

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

    def must_run(self, what: str) -> None:
        """Raises `Conflict` saying what cannot be done."""
        if self.status is not Status.RUNNING:
            raise Conflict(f"cannot {what}: container {self.id} is {self.status}", hint="it must be running")

    def must_live(self, what: str) -> None:
        if self.status is Status.EXITED:
            raise Conflict(f"cannot {what}: container {self.id} has ended", hint="read its log instead")
