"""Proof of lies: statements of one voter that no honest one makes, verified by anyone, for ever.

Two of the same kind, view and sequence with different content (PRE-PREPARE, PREPARE, COMMIT, CHECKPOINT); two
different NEW-VIEW of one view; a COMMIT, and a VIEW-CHANGE that leaves out what it rests on. Or one that is false in
itself: a VIEW-CHANGE whose certificates do not hold, a NEW-VIEW that does not follow from its V.
"""

from __future__ import annotations

import msgspec

from hivemind.model.hive import Epoch
from hivemind.protocols.machine import Verifier
from hivemind.protocols.pbft import limits
from hivemind.protocols.pbft.newview import Outcome, flaw_of_change, flaw_of_new_view
from hivemind.protocols.pbft.signatures import Signatures
from hivemind.protocols.pbft.wire import (
    Body,
    Checkpoint,
    Commit,
    Evidence,
    Malformed,
    NewView,
    Prepare,
    PrePrepare,
    ViewChange,
    decode_body,
)
from hivemind.security.statement import Statement

_decoder = msgspec.msgpack.Decoder(Evidence)


def proven(proof: bytes, hive: str, verify: Verifier, epoch: Epoch | None = None) -> str | None:
    """Who is convicted by an encoded `Evidence` in the domain of `hive` (its id and lineage, as for `Signatures`);
    None when it proves nothing. Whether the culprit is a voter, the caller looks. A statement that is false in
    itself is so only for a set of voters: without the `epoch` it is of, it proves nothing. Pure, so that every node
    finds the same."""
    if len(proof) > limits.MESSAGE_SIZE:
        return None
    try:
        evidence = _decoder.decode(proof)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return convicted(evidence, Signatures(hive, verify), epoch)


def convicted(evidence: Evidence, signatures: Signatures, epoch: Epoch | None) -> str | None:
    first, second = evidence.first, evidence.second
    if evidence.epoch < 0 or (second is not None and second.signer != first.signer):
        return None
    try:
        body = decode_body(first)
        other = decode_body(second) if second is not None else None
    except Malformed:
        return None
    if not signatures.genuine(evidence.epoch, first):
        return None
    if second is None:
        false = epoch is not None and epoch.number == evidence.epoch and _false(body, epoch, signatures)
        return first.signer if false else None
    if other is None or not contradict(first, body, second, other):
        return None
    return first.signer if signatures.genuine(evidence.epoch, second) else None


def contradict(first: Statement, body: Body, second: Statement, other: Body) -> bool:
    """No honest voter says both in one epoch."""
    if isinstance(body, Commit) and isinstance(other, ViewChange):
        return omits(first, other)
    if first.body == second.body or type(body) is not type(other):
        return False
    if isinstance(body, PrePrepare | Prepare | Commit) and isinstance(other, PrePrepare | Prepare | Commit):
        return (body.view, body.sequence) == (other.view, other.sequence)
    if isinstance(body, Checkpoint) and isinstance(other, Checkpoint):
        return body.sequence == other.sequence
    return isinstance(body, NewView) and isinstance(other, NewView) and body.view == other.view


def omits(commit: Statement, change: ViewChange) -> bool:
    """COMMIT says *prepared*; a later VIEW-CHANGE must have that certificate, one of a later view, or a stable
    checkpoint that covers it."""
    try:
        vote = decode_body(commit)
    except Malformed:
        return False
    if not isinstance(vote, Commit) or vote.view >= change.view:
        return False
    if change.stable is not None and change.stable.checkpoint.sequence >= vote.sequence:
        return False
    return not any(
        certificate.sequence == vote.sequence
        and (
            certificate.view > vote.view or (certificate.view, certificate.digest) == (vote.view, vote.digest)
        )
        for certificate in change.prepared
    )


def _false(body: Body, epoch: Epoch, signatures: Signatures) -> bool:
    if isinstance(body, ViewChange):
        return bool(flaw_of_change(body, epoch, signatures))
    return isinstance(body, NewView) and not isinstance(flaw_of_new_view(body, epoch, signatures), Outcome)
