"""The chain of epochs in the ledger's file: what is believed outright, then one certified boundary after the other."""

from __future__ import annotations

import msgspec

from hivemind.errors import Corrupt
from hivemind.ledger.lineage import alone
from hivemind.ledger.log import Log
from hivemind.ledger.records import Beside
from hivemind.ledger.trust import Trust
from hivemind.model.base import UNREADABLE
from hivemind.protocols.machine import Verifier
from hivemind.protocols.pbft import limits
from hivemind.protocols.pbft.epochs import Epochs
from hivemind.protocols.pbft.events import EpochBegan
from hivemind.protocols.pbft.signatures import Signatures
from hivemind.protocols.pbft.wire import Boundary, encode

_trust = msgspec.msgpack.Decoder(Trust)
_boundary = msgspec.msgpack.Decoder(Boundary)


def begin(log: Log, trust: Trust) -> None:
    """A new chain; what a machine noted in another one means nothing any more."""
    alone(log)
    log.keep(Beside(epochs=[(trust.epoch.number, msgspec.msgpack.encode(trust))]))


def recall(log: Log, verify: Verifier) -> tuple[Trust, Epochs] | None:
    """None: none has begun. Raises `Corrupt`, or `Invalid` when a link does not hold."""
    rows = [body for _, body in log.read("SELECT number, body FROM epoch ORDER BY number")]
    if not rows:
        return None
    try:
        trust = _trust.decode(rows[0])
        boundaries = [_boundary.decode(body) for body in rows[1:]]
    except (*UNREADABLE, ValueError) as error:
        raise Corrupt(f"the chain of epochs cannot be read: {error}") from None
    return trust, Epochs(trust.epoch, boundaries, signatures=Signatures(trust.domain, verify))


def after(log: Log, number: int) -> tuple[bytes, ...]:
    """The first links, encoded, that who stands in that epoch lacks; none when they begin later here."""
    rows = log.read("SELECT number, body FROM epoch ORDER BY number")
    if not rows or rows[0][0] > number:
        return ()
    return tuple(body for known, body in rows[1:] if known > number)[: limits.LISTED]


def link(began: EpochBegan) -> tuple[int, bytes]:
    return began.epoch.number, encode(began.boundary)
