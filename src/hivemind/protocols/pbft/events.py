"""What a replica is told and what it wants done: the door of PBFT.

    host                                     replica
    ----                                     -------
    Received, Tick, Submitted         ->
                                      <-     Persist, Send, Execute(n), Execute(n+1), …
    Executed(n), Executed(n+1), …     ->
                                      <-     Stable(n), EpochBegan, Convict, Settled
                                      <-     FetchState(target)
    StateInstalled | StateFailed      ->

Effects are performed strictly in their order, over all calls of `handle`: what stands behind a `Persist` waits until
that is durable. `Execute` may take its time, `Executed` come as later events, in order.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from hivemind.model.hive import Epoch
from hivemind.protocols.machine import Micros, Persist, Received, Send, Tick
from hivemind.protocols.pbft.wire import (
    Boundary,
    CheckpointCertificate,
    CommitCertificate,
    Decided,
    Evidence,
    Request,
)


class Host(Protocol):
    """What the machine asks of whoever drives it, answered at once and without side effects."""

    def wall(self, now: Micros) -> int:
        """The wall clock, in milliseconds since 1970, at `now` of the machine's clock."""

    def valid(self, request: Request) -> bool:
        """The request is whole and signed by whom its id names. Depends on the request alone, never on state."""

    def outcome(self, request: str) -> bytes | None:
        """The result of the request with that id, once it is executed and as long as state remembers it."""

    def decided(self, sequence: int) -> Decided | None:
        """An executed batch out of the node's own ledger, for others; None when it is not kept."""


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """What the host has executed, durably, and what state says there."""

    sequence: int
    digest: bytes
    """Of state, after `sequence`."""
    due: int | None = None
    """Wall clock (ms) when an empty batch is wanted, unless another one comes before."""
    next: Epoch | None = None
    """The epoch that state has agreed on and that begins after `sequence`; None once it has begun."""


# Events, besides `Received` and `Tick`.


class Submitted(msgspec.Struct, frozen=True):
    """Somebody at this node wants this ordered. Answered by `Settled`, or `Refused` at once."""

    request: Request


class Executed(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `Execute`, once the batch is durable and applied. `results`: request id -> a few bytes, the same
    at all voters, of every request that the batch had."""

    position: Position
    results: dict[str, bytes] = {}


class StateInstalled(msgspec.Struct, frozen=True, kw_only=True):
    """A state was fetched, found to be what `certificate` says, and is in place, durably. It need not be the one
    that was asked for; `certificate` is verified here again. Whatever `Execute` came before it is void: the state is
    the one at `position`, which after `Diverged` may be an earlier one."""

    position: Position
    certificate: CheckpointCertificate


class StateFailed(msgspec.Struct, frozen=True, kw_only=True):
    """Nobody gave the state of `sequence`. Asked again later, with whatever is certified by then."""

    sequence: int


Event = Received | Tick | Submitted | Executed | StateInstalled | StateFailed

# Effects, besides `Send` and `Persist`.


class Execute(msgspec.Struct, frozen=True, kw_only=True):
    """Decided: to be executed next. `time`: ms, as proposed; what is executed at is the higher of it and the time of
    the batch before. `certificate` and `proposal` (encoded) are what `Host.decided` gives others."""

    sequence: int
    time: int
    requests: tuple[Request, ...]
    certificate: CommitCertificate
    proposal: bytes


class Stable(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint is certified: states up to it can be proved. This node has executed it."""

    certificate: CheckpointCertificate


class EpochBegan(msgspec.Struct, frozen=True, kw_only=True):
    """The chain of epochs has one link more. The host keeps it, durably before anything behind, and gives all of
    them back at the next start (`Epochs`)."""

    epoch: Epoch
    boundary: Boundary


class FetchState(msgspec.Struct, frozen=True, kw_only=True):
    """This node is too far behind, or diverged. `sources`: voters that signed the checkpoint, sorted. One at a
    time: the next comes after `StateInstalled` or `StateFailed`, and names what is certified by then."""

    certificate: CheckpointCertificate
    sources: tuple[str, ...]


class Convict(msgspec.Struct, frozen=True, kw_only=True):
    """`culprit` was caught; `wire.encode(evidence)` proves it to anyone. Once for each culprit and epoch."""

    culprit: str
    evidence: Evidence


class Diverged(msgspec.Struct, frozen=True, kw_only=True):
    """A quorum certifies another state than this node has: it votes no more until it has installed one that is
    certified. A `FetchState` follows."""

    sequence: int
    own: bytes
    certified: bytes


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """A submitted request was executed: here, or, when this node is a learner, at f+1 voters that say the same."""

    request: str
    result: bytes


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A submitted request was not taken: it is not valid, or too much is pending."""

    request: str
    reason: str


Effect = (
    Send | Persist | Execute | Stable | EpochBegan | FetchState | Convict | Diverged | Settled | Refused
)  # fmt: skip


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a replica stands, for people and tests."""

    role: str
    """`voter`, `learner`; `abstaining`: a voter that may have voted what it does not remember; `diverged`."""
    epoch: Epoch
    view: int
    primary: str
    active: bool
    """Not between views."""
    executed: int
    agreed: int
    """The highest sequence that is proved to be decided."""
    stable: int
    """The highest checkpoint proved."""
    pending: int
    """Requests that wait here."""
    syncing: bool
    """A state is being fetched."""
    heard: tuple[tuple[str, Micros], ...]
    """When each other voter was last heard of, on the machine's clock; 0: never."""
    claimed: tuple[tuple[str, int], ...]
    """What voters say that they have executed, as far as they were heard of: hints."""
    dropped: tuple[tuple[str, int], ...]
    """Why messages were dropped, and how many."""


__all__ = [
    "Convict", "Diverged", "Effect", "EpochBegan", "Event", "Execute", "Executed", "FetchState", "Host",
    "Persist", "Position", "Received", "Refused", "Send", "Settled", "Stable", "Standing", "StateFailed",
    "StateInstalled", "Submitted", "Tick",
]  # fmt: skip
