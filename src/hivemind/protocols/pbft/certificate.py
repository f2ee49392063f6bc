"""Certificates: a quorum's signatures over one content, and whether they hold in an epoch.

Counts, membership and order are looked at before any signature.
"""

from __future__ import annotations

from collections.abc import Mapping

from hivemind.model.hive import Epoch
from hivemind.protocols.pbft.quorum import quorum
from hivemind.protocols.pbft.signatures import Signatures
from hivemind.protocols.pbft.wire import (
    CheckpointCertificate,
    Commit,
    CommitCertificate,
    Prepare,
    PreparedCertificate,
    PrePrepare,
    encode,
)
from hivemind.protocols.pbft.wire import Signatures as Pairs
from hivemind.security.statement import Statement

DIGEST_SIZE = 32


def primary(epoch: Epoch, view: int) -> str:
    """The voter whose turn a view is."""
    return epoch.voters[view % len(epoch.voters)]


def joined(statements: Mapping[str, Statement], count: int) -> Pairs:
    """The signatures of the first `count` signers."""
    return tuple((signer, statements[signer].signature) for signer in sorted(statements)[:count])


def commit_holds(certificate: CommitCertificate, epoch: Epoch, signatures: Signatures) -> bool:
    """`certificate` proves its decision in `epoch`."""
    body = Commit(certificate.view, certificate.sequence, certificate.digest)
    return (
        certificate.epoch == epoch.number
        and certificate.sequence >= epoch.since
        and certificate.view >= 0
        and len(certificate.digest) == DIGEST_SIZE
        and _signed(certificate.signatures, quorum(len(epoch.voters)), encode(body), epoch, signatures)
    )


def checkpoint_holds(certificate: CheckpointCertificate, epoch: Epoch, signatures: Signatures) -> bool:
    """`certificate` proves the state, and the epoch after it, if it names one."""
    body = certificate.checkpoint
    return (
        certificate.epoch == epoch.number
        and body.sequence >= epoch.since
        and len(body.digest) == DIGEST_SIZE
        and _signed(certificate.signatures, quorum(len(epoch.voters)), encode(body), epoch, signatures)
    )


def prepared_holds(certificate: PreparedCertificate, epoch: Epoch, signatures: Signatures) -> bool:
    """*prepared*: the primary's PRE-PREPARE and PREPARE of q-1 backups, all of one view and digest."""
    leader = primary(epoch, certificate.view)
    fields = (certificate.view, certificate.sequence, certificate.digest)
    return (
        certificate.view >= 0
        and certificate.sequence >= epoch.since
        and len(certificate.digest) == DIGEST_SIZE
        and all(signer != leader for signer, _ in certificate.prepares)
        and _signed(
            certificate.prepares, quorum(len(epoch.voters)) - 1, encode(Prepare(*fields)), epoch, signatures
        )
        and signatures.holds(epoch.number, leader, encode(PrePrepare(*fields)), certificate.preprepare)
    )


def _signed(pairs: Pairs, wanted: int, body: bytes, epoch: Epoch, signatures: Signatures) -> bool:
    """Exactly `wanted` distinct voters, sorted: more would only cost time."""
    signers = [signer for signer, _ in pairs]
    return (
        len(signers) == wanted
        and signers == sorted(set(signers))
        and all(signer in epoch.voters for signer in signers)
        and all(signatures.holds(epoch.number, signer, body, signature) for signer, signature in pairs)
    )
