"""What the machine of the shared store is told, and what it wants done."""

from __future__ import annotations

import msgspec

from hivemind.protocols.autobee.attesting import Certified
from hivemind.protocols.autobee.entry import Entry
from hivemind.protocols.autobee.log import Piece
from hivemind.protocols.machine import MILLISECOND, SECOND, Micros
from hivemind.security.statement import Statement


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    delay: Micros = 25 * MILLISECOND
    """Between two groups of own writes, each signed as one; the first write after a pause does not wait."""
    repair: Micros = SECOND
    """Between two comparisons with other nodes of what each has."""
    promise: Micros = 5 * SECOND
    """Between two acknowledgements, while there is something to acknowledge."""
    patience: Micros = 2 * SECOND
    """Until what was asked for is asked for again."""
    fan_out: int = 16
    """With more nodes than this, news go through others."""
    backlog: int = 10_000
    """Unsigned entries beyond which only the newest of each key are kept."""
    rate: int = 1 << 20
    """Bytes a second that a writer's log may grow by, in the long run,"""
    burst: int = 64 << 20
    """and how far it may run ahead of that."""
    largest_log: int = 256 << 20
    """Bytes of another's log that are kept, uncleared."""
    ahead: int = 86_400_000
    """Milliseconds by which a Lamport clock may be beyond the wall clock: honest ones are ages behind it."""


class Restored(msgspec.Struct, frozen=True):
    """A log as it was kept."""

    writer: str
    pieces: list[Piece]
    head: Statement | None
    behind: tuple[Piece, ...] = ()
    """Nodes from the last piece to the length of the head."""
    ack: Statement | None = None
    evidence: bytes = b""
    """The proof of a fork, if there was one."""


# -- told, besides `Received` and `Tick` -------------------------------------------------------------------------


class Linked(msgspec.Struct, frozen=True):
    peer: str
    up: bool


class Write(msgspec.Struct, frozen=True):
    """Own entries, all at once; None deletes. `time`: wall clock, milliseconds since 1970."""

    batch: tuple[tuple[str, bytes | None], ...]
    time: int


class Flush(msgspec.Struct, frozen=True):
    """Sign what waits for company now."""


class Stored(msgspec.Struct, frozen=True):
    """A `Store` of the own log has become durable."""


class Admit(msgspec.Struct, frozen=True):
    """Who writes from now on, as the ledger says. What others had written disappears."""

    writers: tuple[str, ...]


class Certify(msgspec.Struct, frozen=True):
    """What a quorum has. From the first of these on, only superseded entries up to there are cleared."""

    logs: tuple[Certified, ...]


class Enter(msgspec.Struct, frozen=True):
    """From now on everything is signed for that hive, and the own log begins anew; so, too, for the same hive when
    some of the own log was lost. Others are admitted afterwards."""

    hive: str


class Cleared(msgspec.Struct, frozen=True):
    """The host has cleared a log, and keeps so many bytes of it."""

    writer: str
    size: int


# -- wanted, besides `Send` --------------------------------------------------------------------------------------


class Store(msgspec.Struct, frozen=True):
    """To be kept; of the own log durably, before anything behind this leaves the node."""

    writer: str
    pieces: tuple[Piece, ...]
    head: Statement
    behind: tuple[Piece, ...] = ()
    whole: bool = False
    """In place of all that was kept of this writer, as one change."""


class Refine(msgspec.Struct, frozen=True):
    """Bodies to be kept where nodes stood for them."""

    writer: str
    pieces: tuple[Piece, ...]


class Note(msgspec.Struct, frozen=True):
    """The writer's latest acknowledgement, to be kept; of the own one durably."""

    writer: str
    ack: Statement


class Drop(msgspec.Struct, frozen=True):
    """Nothing of that writer is to be kept."""

    writer: str


class Serve(msgspec.Struct, frozen=True):
    """A part of a kept log is to be sent, see `serving`. `sequences`: only these entries of it, with their proof."""

    to: str
    writer: str
    start: int = 0
    proof: bool = False
    sequences: tuple[int, ...] = ()


class Changed(msgspec.Struct, frozen=True):
    """What readers see differently now; a value of None: the key is gone."""

    entries: tuple[Entry, ...]


class Convict(msgspec.Struct, frozen=True):
    """A writer lied, as `evidence` proves to anyone: to be kept, and told to the ledger."""

    writer: str
    evidence: bytes


class Exposed(msgspec.Struct, frozen=True):
    """It is this node itself that lied, as others can prove: two copies of it run, or somebody else has its key."""

    evidence: bytes
