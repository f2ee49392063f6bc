"""What a node knows of its way to another one: where that is, the connection, and what waits for there to be one."""

from __future__ import annotations

import asyncio
import random
from collections import deque

import msgspec

from hivemind.errors import HivemindError
from hivemind.transport.connection import Connection
from hivemind.transport.contract import Address


class Bounds(msgspec.Struct, frozen=True):
    """Of all connections of a node. Times are seconds."""

    strangers: int = 256
    """Connections whose handshake is not finished."""
    strangers_of_address: int = 64
    contacts: int = 8
    """First contacts that are answered at once."""
    contact_time: float = 600.0
    contact_opens: float = 10.0
    """Within which who makes a first contact opens its stream: who only holds the door keeps others from it."""
    dials: int = 64
    """Calls under way."""
    backlog: int = 1_024
    """Messages to one node that wait for a connection."""
    backlog_bytes: int = 4 << 20
    first_pause: float = 0.1
    """After which a call that failed may be tried again; doubles each time."""
    longest_pause: float = 5.0
    doubt: float = 2.0
    """Within which a connection in doubt must prove that it lives."""
    preferred: float = 5.0
    """How long the call of the other side is waited for, when it said that it has one."""


class Link:
    __slots__ = (
        "_backlog",
        "_backlog_bytes",
        "_failures",
        "_worked",
        "addresses",
        "candidate",
        "connection",
        "dialing",
        "not_before",
        "waiting",
    )

    def __init__(self) -> None:
        self.addresses: tuple[Address, ...] = ()
        self.connection: Connection | None = None
        self.candidate: Connection | None = None
        """The one that is being made from here."""
        self.dialing: asyncio.Task[str] | None = None
        self.not_before = 0.0
        """When it may be dialled again, by the loop's clock."""
        self.waiting: list[asyncio.Future[Connection]] = []
        self._failures = 0
        self._worked: Address | None = None
        self._backlog: deque[tuple[str, bytes]] = deque()
        self._backlog_bytes = 0

    @property
    def forgotten(self) -> bool:
        """Nothing is known of it that would have to be kept."""
        return not (self.addresses or self.connection or self.dialing or self.waiting)

    def moved(self, addresses: tuple[Address, ...]) -> None:
        if self.addresses != addresses:
            self.addresses, self._failures, self.not_before = addresses, 0, 0.0

    def to_try(self) -> list[Address]:
        """The one that worked last comes first: one that swallows everything costs its time only once."""
        return sorted(self.addresses, key=lambda address: address != self._worked)

    def worked(self, address: Address) -> None:
        self._worked = address

    def put(self, service: str, message: bytes, bounds: Bounds) -> bool:
        size = self._backlog_bytes + len(message)
        if len(self._backlog) >= bounds.backlog or size > bounds.backlog_bytes:
            return False
        self._backlog.append((service, message))
        self._backlog_bytes = size
        return True

    def up(self, connection: Connection) -> None:
        """What waited goes over it."""
        self.connection, self._failures = connection, 0
        backlog, self._backlog, self._backlog_bytes = self._backlog, deque(), 0
        for service, message in backlog:
            connection.send(service, message)
        for future in self.waiting:
            if not future.done():
                future.set_result(connection)

    def failed(self, error: HivemindError, now: float, bounds: Bounds) -> int:
        """Nobody waits any longer. How many messages that costs."""
        pause = min(bounds.longest_pause, bounds.first_pause * 2 ** min(self._failures, 16))
        self._failures += 1
        self.not_before = now + pause * random.uniform(0.5, 1.0)
        return self.empty(error)

    def empty(self, error: HivemindError) -> int:
        for future in self.waiting:
            if not future.done():
                future.set_exception(error)
        lost = len(self._backlog)
        self._backlog.clear()
        self._backlog_bytes = 0
        return lost
