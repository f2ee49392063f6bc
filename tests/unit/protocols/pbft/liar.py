"""Byzantine messages, made with real keys of the nodes they are said by."""

from __future__ import annotations

from collections.abc import Sequence

from hivemind.protocols.machine import Received
from hivemind.protocols.pbft.signatures import Signatures
from hivemind.protocols.pbft.wire import (
    Body,
    Commit,
    NewView,
    Prepare,
    PreparedCertificate,
    PrePrepare,
    Proposal,
    Request,
    Said,
    ViewChange,
    digest,
    encode,
)
from hivemind.security.statement import Statement
from unit.protocols.pbft.world import HIVE, Key, World, verify

_signatures = Signatures(HIVE, verify)


def signed(signer: str, body: Body, *, epoch: int = 0) -> Statement:
    return _signatures.sign(Key(signer), epoch, body)


def proposal(*ids: str, time: int = 1_000_000) -> bytes:
    return encode(Proposal(time, tuple(Request(id, "", b"x") for id in ids)))


def prepared(signers: str, view: int, sequence: int, data: bytes) -> PreparedCertificate:
    """A certificate with these signers, the first of whom says PRE-PREPARE."""
    key = digest(data)
    leader, backups = signers[0], signers[1:]
    offer = signed(leader, PrePrepare(view, sequence, key))
    votes = {name: signed(name, Prepare(view, sequence, key)).signature for name in backups}
    return PreparedCertificate(view, sequence, key, offer.signature, tuple(sorted(votes.items())))


def view_change(signer: str, view: int, *certificates: PreparedCertificate) -> Statement:
    return signed(signer, ViewChange(view, None, certificates))


def new_view(
    signer: str, view: int, changes: Sequence[Statement], offers: Sequence[tuple[int, bytes]]
) -> Statement:
    """O says these digests, whatever V says."""
    proposals = tuple(signed(signer, PrePrepare(view, sequence, key)) for sequence, key in offers)
    return signed(signer, NewView(view, tuple(changes), proposals))


def commit(signer: str, view: int, sequence: int, data: bytes) -> Statement:
    return signed(signer, Commit(view, sequence, digest(data)))


def tell(
    world: World, to: str, statement: Statement, *, attached: bytes = b"", epoch: int = 0, over: str = ""
) -> None:
    """Over its signer's channel, or `over` somebody else's."""
    message = encode(Said(epoch, statement, attached))
    world.nodes[to].feed(Received(over or statement.signer, message))
