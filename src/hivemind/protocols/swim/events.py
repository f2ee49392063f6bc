"""What a member's machine is told, and what it wants done or known."""

from __future__ import annotations

import enum

import msgspec

from hivemind.protocols.machine import Micros, Received, Send, Tick
from hivemind.protocols.swim.statements import Alive


class Status(enum.IntEnum):
    """Of a member in its present incarnation it only ascends."""

    ALIVE = 0
    SUSPECT = 1
    FAILED = 2
    LEFT = 3


class Meet(msgspec.Struct, frozen=True):
    """These nodes should be there: compare everything with them. At start, and when discovery finds somebody."""

    nodes: tuple[str, ...]


class Doubt(msgspec.Struct, frozen=True):
    """Something else speaks against this node (its connection broke): it is pinged out of turn."""

    node: str


class Announce(msgspec.Struct, frozen=True):
    """From now on this is where the node is and what it says of itself; `incarnation` of it does not matter."""

    me: Alive


class Locate(msgspec.Struct, frozen=True):
    """What its answers carry from now on: at most 64 bytes, unsigned, see `protocols.vivaldi`."""

    coordinate: bytes


class Leave(msgspec.Struct, frozen=True):
    """Says good-bye. It goes on answering and passing on, and accuses nobody any more."""


class Review(msgspec.Struct, frozen=True):
    """Who belongs to the hive has changed."""


class SendReliably(msgspec.Struct, frozen=True):
    """Through the channel instead of a datagram: longer than the MTU, or because datagrams may not get through."""

    to: str
    message: bytes


class Joined(msgspec.Struct, frozen=True):
    node: str
    alive: Alive


class Suspected(msgspec.Struct, frozen=True):
    """One more node accuses it; the first time nobody had."""

    node: str
    incarnation: int
    by: str


class Failed(msgspec.Struct, frozen=True):
    """The verdict, always after `Suspected`. `by`: the accusers. `seen`: the node here is one of those that got no
    answer; who only believes others should not accuse anybody before the whole hive."""

    node: str
    incarnation: int
    by: tuple[str, ...]
    seen: bool


class Left(msgspec.Struct, frozen=True):
    """It said so itself; or the hive does not count it any more."""

    node: str


class Returned(msgspec.Struct, frozen=True):
    """It refuted what was said of it, or came back."""

    node: str
    alive: Alive
    was: Status


class Updated(msgspec.Struct, frozen=True):
    """It is elsewhere, or says something else of itself."""

    node: str
    alive: Alive


class Measured(msgspec.Struct, frozen=True):
    """It answered a ping directly after `round_trip`; `coordinate` is what it claims."""

    node: str
    round_trip: Micros
    coordinate: bytes


Input = Received | Tick | Meet | Doubt | Announce | Locate | Leave | Review
Change = Joined | Suspected | Failed | Left | Returned | Updated
Effect = Send | SendReliably | Measured | Change
