"""The ledger: one order of all operations, made durable. `local` for one node, PBFT for several; nothing above
knows which.

A batch is durable before anyone hears of it: `submit` returns after it was agreed, stored (fsync) and applied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

from hivemind.model.hive import Engine
from hivemind.security.envelope import Envelope
from hivemind.state.state import Outcome, State


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What was agreed together. `time` (ms) is the only clock that state ever sees; it never goes back."""

    sequence: int
    previous: bytes
    """BLAKE2b-256 of the batch before: the chain."""
    time: int
    envelopes: tuple[Envelope, ...] = ()
    """Empty: a tick that lets timers fire."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    sequence: int
    outcome: Outcome


class LedgerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How agreement goes, as this node sees it. PBFT's words where that is the engine."""

    engine: Engine
    role: Literal["alone", "voter", "learner"]
    epoch: int = 0
    voters: tuple[str, ...] = ()
    """Ids of nodes."""
    view: int = 0
    primary: str = ""
    sequence: int = 0
    """Applied here."""
    agreed: int = 0
    """The highest known to be agreed; what is between is this node's lag."""
    checkpoint: int = 0
    """The highest that is certified."""
    can_decide: bool = True
    """Enough voters were heard of lately for new decisions."""
    why_not: str = ""
    """For people: who is missing."""
    heard: dict[str, int] = {}
    """Voter -> milliseconds since 1970 when it was last heard of."""
    evidence: tuple[str, ...] = ()
    """What other voters were caught at, in words."""
    dropped: dict[str, int] = {}
    """Messages of other nodes that were dropped since the engine began, by why."""


class Ledger(Protocol):
    state: State
    """Read it freely; only the ledger changes it."""

    async def submit(self, envelope: Envelope) -> Receipt:
        """Durable and applied. An operation that state refuses raises that error; a duplicate (same signer and
        nonce) returns the first receipt."""

    def subscribe(self, callback: Callable[[Batch], None]) -> Callable[[], None]:
        """Calls back after each applied batch, in order, in the loop's turn; returns the undo."""

    def status(self) -> LedgerStatus: ...

    async def close(self) -> None: ...
