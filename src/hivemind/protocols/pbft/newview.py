"""What a NEW-VIEW must say: computed by the new primary, and again by everybody who is asked to believe it.

Castro & Liskov, section 4.4. Of V, a quorum of VIEW-CHANGE: *min-s* is the highest stable checkpoint in V, *max-s*
the highest sequence that is prepared in V. O has a PRE-PREPARE for each sequence between: for the digest of the
prepared certificate of the highest view in V, or, where V has none, for the null request. What was committed
anywhere was prepared at a quorum, each quorum of V has one honest voter of that, so O has it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hivemind.model.hive import Epoch
from hivemind.protocols.pbft import limits
from hivemind.protocols.pbft.certificate import checkpoint_holds, prepared_holds, primary
from hivemind.protocols.pbft.quorum import quorum
from hivemind.protocols.pbft.signatures import Signatures
from hivemind.protocols.pbft.wire import (
    NULL_DIGEST,
    CheckpointCertificate,
    Malformed,
    NewView,
    PreparedCertificate,
    PrePrepare,
    ViewChange,
    decode_body,
    encode,
)


class Outcome(msgspec.Struct, frozen=True):
    """`stable` is min-s's certificate; None: the boundary that began the epoch. `proposals`: what O must say."""

    stable: CheckpointCertificate | None
    proposals: tuple[PrePrepare, ...]


def outcome(view: int, epoch: Epoch, changes: Sequence[ViewChange]) -> Outcome:
    """O, computed from V, whose members are sound."""
    stable = max(
        (change.stable for change in changes if change.stable is not None),
        key=lambda certificate: certificate.checkpoint.sequence,
        default=None,
    )
    lowest = stable.checkpoint.sequence if stable else epoch.since - 1
    chosen: dict[int, PreparedCertificate] = {}
    for change in changes:
        for certificate in change.prepared:
            best = chosen.get(certificate.sequence)
            if best is None or certificate.view > best.view:
                chosen[certificate.sequence] = certificate
    highest = max(chosen, default=lowest)
    proposals = (
        PrePrepare(view, sequence, chosen[sequence].digest if sequence in chosen else NULL_DIGEST)
        for sequence in range(lowest + 1, highest + 1)
    )
    return Outcome(stable, tuple(proposals))


def flaw_of_change(change: ViewChange, epoch: Epoch, signatures: Signatures) -> str:
    """Why nobody honest says this in a VIEW-CHANGE; empty: it is sound. Cheap reasons first."""
    stable = epoch.since - 1
    if change.view < 1:
        return "nothing comes before view 0"
    if change.stable is not None:
        stable = change.stable.checkpoint.sequence
        if change.stable.epoch != epoch.number or change.stable.checkpoint.next is not None:
            return "its checkpoint is of another epoch"
    sequences = [certificate.sequence for certificate in change.prepared]
    if sequences != sorted(set(sequences)) or len(sequences) > limits.LOG:
        return "its certificates are not in order"
    if sequences and not stable < sequences[0] <= sequences[-1] <= stable + limits.LOG:
        return "its certificates are outside the watermarks"
    if any(certificate.view >= change.view for certificate in change.prepared):
        return "its certificates are of later views"
    if change.stable is not None and not checkpoint_holds(change.stable, epoch, signatures):
        return "its checkpoint does not hold"
    if not all(prepared_holds(certificate, epoch, signatures) for certificate in change.prepared):
        return "one of its certificates does not hold"
    return ""


def flaw_of_new_view(message: NewView, epoch: Epoch, signatures: Signatures) -> str | Outcome:
    """Why nobody honest says this in a NEW-VIEW, or what it says."""
    signers = [statement.signer for statement in message.changes]
    if len(signers) != quorum(len(epoch.voters)) or signers != sorted(set(signers)):
        return "V is no quorum"
    if not all(signer in epoch.voters for signer in signers) or len(message.proposals) > limits.LOG:
        return "V is not of this epoch"
    changes: list[ViewChange] = []
    for statement in message.changes:
        try:
            change = decode_body(statement)
        except Malformed:
            return "V cannot be read"
        if not isinstance(change, ViewChange) or change.view != message.view:
            return "V is of another view"
        changes.append(change)
    computed = outcome(message.view, epoch, changes)
    leader = primary(epoch, message.view)
    if [statement.body for statement in message.proposals] != [encode(body) for body in computed.proposals]:
        return "O does not follow from V"
    if any(statement.signer != leader for statement in message.proposals):
        return "O is another's"
    if not all(
        signatures.genuine(epoch.number, statement) for statement in message.changes + message.proposals
    ):
        return "a signature does not hold"
    for change in changes:
        flaw = flaw_of_change(change, epoch, signatures)
        if flaw:
            return f"V: {flaw}"
    return computed
