"""How a ledger begins to be agreed with others: by the node that was alone, and by one that enters.

The one that was alone is the only voter of the first epoch, a quorum by itself: it certifies the state that it has,
and with that others can check everything that follows.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec.structs import replace

from hivemind.errors import Conflict, Corrupt, HivemindError, Unavailable
from hivemind.ledger import lineage
from hivemind.ledger.agreed import epochs
from hivemind.ledger.journal import Journal
from hivemind.ledger.log import Checkpoint, Log
from hivemind.ledger.parts import attested
from hivemind.ledger.trust import Handover, Trust
from hivemind.ledger.voters import lineage_of, next_of
from hivemind.model.base import UNREADABLE
from hivemind.protocols.machine import Signer
from hivemind.protocols.pbft import wire
from hivemind.protocols.pbft.certificate import checkpoint_holds
from hivemind.protocols.pbft.signatures import Signatures
from hivemind.security.identity import verify
from hivemind.state.state import State

_certificates = msgspec.msgpack.Decoder(wire.CheckpointCertificate)


async def prepare(journal: Journal, signer: Signer) -> None:
    """So that an engine can begin. Raises `Corrupt` when this node does not know whom to believe."""
    known = await journal.in_thread(epochs.recall, journal.log, verify)
    hive = journal.state.hive_record
    assert hive is not None
    only = hive.epoch.voters == (signer.public,)
    if known is None or known[0].domain != hive.domain:
        if not only:
            raise Corrupt(
                "the ledger does not know which voters to believe",
                hint="let this node leave the hive and join it anew",
            )
        # Nobody else knows what it decided alone: for the machines the epoch begins with the certified state.
        epoch = replace(hive.epoch, since=max(hive.epoch.since, journal.state.sequence))
        trust = Trust(hive=hive.id, lineage=hive.lineage, epoch=epoch)
        await journal.in_thread(epochs.begin, journal.log, trust)
    if only and await journal.in_thread(journal.log.proven) is None:
        await _certify(journal, signer, Trust(hive=hive.id, lineage=hive.lineage, epoch=hive.epoch))


async def _certify(journal: Journal, signer: Signer, trust: Trust) -> None:
    """The only voter vouches for what it has."""
    state, following = journal.state, next_of(journal.state)
    last = following is not None and following.since == state.sequence + 1
    body = wire.Checkpoint(
        state.sequence,
        attested(state, journal.head),
        wire.Next.of(following) if last and following else None,
    )
    statement = Signatures(trust.domain, verify).sign(signer, trust.epoch.number, body)
    pair = (statement.signer, statement.signature)
    proof = wire.encode(wire.CheckpointCertificate(trust.epoch.number, body, (pair,)))
    checkpoint = Checkpoint.made_later(state, journal.head)
    await journal.in_thread(lambda: journal.log.checkpoint(checkpoint()))
    await journal.in_thread(journal.log.prove, state.sequence, proof)


async def handover(journal: Journal) -> Handover:
    """Raises `Conflict`, `Unavailable`."""
    hive = journal.state.hive_record
    if hive is not None and hive.engine == "etcd":
        trust = Trust(hive=hive.id, lineage=hive.lineage, epoch=hive.epoch)
        picture, head = journal.state.picture(), journal.head
        return Handover(trust=trust, snapshot=await journal.in_thread(picture.encode), head=head, proof=b"")
    known = await journal.in_thread(epochs.recall, journal.log, verify)
    if known is None:
        raise Conflict("this node decides alone: there is nothing that others could check")
    found = await journal.in_thread(journal.log.proven)
    if found is None:
        journal.want_checkpoint()
        raise Unavailable("there is no certified checkpoint yet", hint="try again in a moment")
    checkpoint, proof = found
    epoch = known[1].numbered(_certificates.decode(proof).epoch)
    assert epoch is not None
    trust = Trust(hive=journal.state.hive, lineage=lineage_of(journal.state), epoch=epoch)
    return Handover(trust=trust, snapshot=checkpoint.snapshot, head=checkpoint.head, proof=proof)


def checked(handover: Handover) -> Checkpoint:
    """Raises `Corrupt` unless it is what the voters certified, of the hive that it says."""
    trust = handover.trust
    try:
        state = State.restore(handover.snapshot)
        certificate = None if _by_etcd(state) else _certificates.decode(handover.proof)
    except (*UNREADABLE, HivemindError, ValueError, TypeError, KeyError) as error:
        raise Corrupt(f"the hive's state that was handed over cannot be read: {error}") from None
    if state.hive != trust.hive:
        raise Corrupt("the state that was handed over is of another hive")
    if certificate is not None:
        _check_certificate(certificate, state, handover)
    return Checkpoint(
        sequence=state.sequence,
        time=state.time,
        head=handover.head,
        digest=state.digest(),
        snapshot=handover.snapshot,
    )


def _by_etcd(state: State) -> bool:
    """Then there are no voters, and nothing but the sponsor's word."""
    hive = state.hive_record
    return hive is not None and hive.engine == "etcd"


def _check_certificate(certificate: wire.CheckpointCertificate, state: State, handover: Handover) -> None:
    signatures = Signatures(handover.trust.domain, verify)
    if not checkpoint_holds(certificate, handover.trust.epoch, signatures):
        raise Corrupt("the hive's state that was handed over is not certified by its voters")
    certified = (certificate.checkpoint.sequence, certificate.checkpoint.digest)
    if certified != (state.sequence, attested(state, handover.head)):
        raise Corrupt("the hive's state that was handed over is not the one that its voters certified")


def entered(path: Path, handover: Handover) -> None:
    """Writes the ledger of a node that follows the hive from there on. Blocking."""
    checkpoint = checked(handover)
    log: Log = lineage.fresh(path)
    try:
        epochs.begin(log, handover.trust)
        log.install(checkpoint, handover.proof)
    finally:
        log.close()
