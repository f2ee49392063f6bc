"""What a node's machine is told, and what it wants done or known. Addresses are those where datagrams are heard."""

from __future__ import annotations

import enum

import msgspec

from hivemind.protocols.kademlia.ids import Address
from hivemind.protocols.machine import Tick


class Heard(msgspec.Struct, frozen=True):
    """A datagram came. `sender` is proven, `source` is not."""

    source: Address
    sender: str
    message: bytes


class Meet(msgspec.Struct, frozen=True):
    """Somebody may be there: they are asked, again and again as long as nobody at all answers. The likeliest first."""

    addresses: tuple[Address, ...]


class Join(msgspec.Struct, frozen=True):
    """Announces this node under the topic and keeps it announced; who else is there is told by `Found`."""

    topic: bytes
    addresses: tuple[Address, ...]
    """Where connections and datagrams are heard; at most 4."""


class Part(msgspec.Struct, frozen=True):
    """Takes the announcement back, wherever it was made. `Ended` with that number when they have heard so."""

    topic: bytes
    number: int = 0


class Look(msgspec.Struct, frozen=True):
    """Who is announced under the topic: `Found` for each, then `Ended` with that number."""

    topic: bytes
    number: int = 0


class Put(msgspec.Struct, frozen=True):
    """A value under the hash of itself: `Ended` says at how many nodes it is. At most 800 bytes."""

    value: bytes
    number: int = 0


class PutMutable(msgspec.Struct, frozen=True):
    """A value of this node under its key and `salt`. `sequence` must be higher than before."""

    value: bytes
    sequence: int
    salt: bytes = b""
    number: int = 0


class Get(msgspec.Struct, frozen=True):
    """`Got` what is stored under that key, the newest that anybody has."""

    key: bytes
    number: int = 0


class Reach(msgspec.Struct, frozen=True):
    """A way for datagrams to that node is wanted through whatever translates addresses: it is asked, through these
    third nodes, to send here while this one sends there. `Reached` when that works, `Ended` in any case."""

    node: str
    through: tuple[Address, ...]
    number: int = 0


class Moved(msgspec.Struct, frozen=True):
    """The network is another one, or the machine has slept."""


class Review(msgspec.Struct, frozen=True):
    """Who belongs to the hive has changed."""


class Translation(enum.Enum):
    """How the address of this node looks from outside."""

    UNKNOWN = "unknown"
    OPEN = "open"
    """As it is."""
    CONSISTENT = "consistent"
    """Translated, to the same one for everybody: others may be let in by sending to them."""
    RANDOM = "random"
    """To another one for everybody: only a third node can help."""


class Transmit(msgspec.Struct, frozen=True):
    to: Address
    message: bytes


class Found(msgspec.Struct, frozen=True):
    """`node` has signed that it is there. Told again when it says something else."""

    topic: bytes
    node: str
    addresses: tuple[Address, ...]
    relays: tuple[Address, ...] = ()
    """Third nodes that can reach it, when it cannot be reached itself."""


class Ended(msgspec.Struct, frozen=True):
    number: int
    nodes: int
    """How many nodes answered, or took what was to be stored."""
    refusal: str = ""


class Got(msgspec.Struct, frozen=True):
    number: int
    value: bytes | None
    sequence: int = 0
    signer: str = ""


class Outside(msgspec.Struct, frozen=True):
    """What is known of one's own address has changed."""

    translation: Translation
    address: Address | None


class Reached(msgspec.Struct, frozen=True):
    node: str
    address: Address


Input = Heard | Tick | Meet | Join | Part | Look | Put | PutMutable | Get | Reach | Moved | Review
Effect = Transmit | Found | Ended | Got | Outside | Reached
