"""What every protocol here is: a machine that turns events into effects, and nothing else.

A machine has no clock, dice, socket or disk. Time is a whole number of microseconds that only goes forward, given
with each event; randomness and signing come in through the constructor. Equal machines that are given equal events
give equal effects: nothing may depend on the order of a hash table.

Effects are values, performed in their order by whoever drives the machine. What stands behind a `Persist` waits
until that is durable: a vote that could be forgotten in a crash is never sent. What a machine sends to itself it
handles itself; it never appears among the effects.
"""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

import msgspec

Micros = int
"""Microseconds of a clock that only goes forward; or how long something takes."""
MILLISECOND: Micros = 1_000
SECOND: Micros = 1_000_000


class Received(msgspec.Struct, frozen=True):
    """A message came in. `sender`: whose channel it came over, as that proved; who signed what is inside, the
    machine finds out itself. A message that cannot be read is dropped and counted, it never raises."""

    sender: str
    message: bytes


class Tick(msgspec.Struct, frozen=True):
    """`deadline()` has passed, or nothing has happened. Never wrong, at most superfluous."""


class Send(msgspec.Struct, frozen=True):
    """To the node with that id; it may be lost, doubled, late and overtaken by others."""

    to: str
    message: bytes


class Persist(msgspec.Struct, frozen=True):
    """`record` is appended to the machine's own durable log before anything behind this is performed. After a
    restart the machine is given its records, in their order; `replaces` says that all earlier ones may be gone."""

    record: bytes
    replaces: bool = False


Event = TypeVar("Event", contravariant=True)


class Machine(Protocol, Generic[Event]):
    def handle(self, event: Event, now: Micros) -> list[Any]: ...

    def deadline(self) -> Micros | None:
        """When it wants a `Tick`, unless something else happens before; None: it waits for others."""

    def check(self) -> None:
        """Raises `AssertionError` when its own invariants do not hold. Cheap enough to be called after each event
        of a simulation, never called in production."""


class Signer(Protocol):
    """A private key; `security.identity.Identity` is one, a simulation brings a cheaper one."""

    @property
    def public(self) -> str: ...

    def sign(self, message: bytes) -> bytes: ...


class Verifier(Protocol):
    """`security.identity.verify` is one."""

    def __call__(self, public: str, message: bytes, signature: bytes) -> bool: ...


class Dice(Protocol):
    """What `random.Random` offers and machines need; every machine has its own, seeded by whoever makes it."""

    def random(self) -> float: ...

    def randrange(self, stop: int, /) -> int: ...

    def sample(self, population: Any, k: int) -> list[Any]: ...

    def shuffle(self, x: Any) -> None: ...
