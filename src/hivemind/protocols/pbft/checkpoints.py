"""Checkpoints: a quorum's word for a state. A stable one moves the watermarks; one at the last sequence of an epoch
begins the next.
"""

from __future__ import annotations

from hivemind.protocols.pbft.certificate import DIGEST_SIZE, checkpoint_holds, joined
from hivemind.protocols.pbft.core import Core
from hivemind.protocols.pbft.durable import Certified, Vouched
from hivemind.protocols.pbft.events import Diverged, EpochBegan, Position, Stable
from hivemind.protocols.pbft.slots import Ballots
from hivemind.protocols.pbft.wire import (
    Boundary,
    Checkpoint,
    CheckpointCertificate,
    Next,
    Said,
    decode_body,
    encode,
)
from hivemind.security.statement import Statement


class Checkpoints:
    def __init__(self, core: Core) -> None:
        self._core = core
        self.votes: dict[int, Ballots] = {}
        """Sequence -> CHECKPOINT of each voter, above the stable one. The digest is the encoded body's."""
        self._told = core.stable is None or core.stable.checkpoint.sequence <= core.executed
        """The host knows of the stable checkpoint, or it stands in an earlier state than that."""

    def on_checkpoint(self, sender: str, said: Said, body: Checkpoint) -> None:
        core, statement = self._core, said.statement
        if statement.signer not in core.voters or len(body.digest) != DIGEST_SIZE:
            return core.drop("not a voter's checkpoint")
        if not core.low < body.sequence <= core.low + 2 * core.settings.log:
            return core.drop("outside watermarks")
        good = sender != statement.signer
        if good and not core.genuine(statement):
            return core.drop("signature")
        ballots = self.votes.setdefault(body.sequence, Ballots())
        earlier = ballots.add(statement, statement.body, good)
        if earlier is not None and earlier.digest != statement.body:
            if not core.genuine(earlier.statement):
                del ballots.cast[statement.signer]
                ballots.add(statement, statement.body, good)
            elif core.genuine(statement):
                core.convict(statement.signer, earlier.statement, statement)
            core.drop("a second checkpoint")
        return None

    def vouch(self, position: Position) -> None:
        """This node has executed so far. At a checkpoint it says what state it has, durably."""
        core, sequence = self._core, position.sequence
        at_boundary = sequence == core.last
        if not core.may_vote or sequence <= core.low:
            return
        if not at_boundary and sequence % core.settings.checkpoint_interval:
            return
        following = Next.of(position.next) if at_boundary and position.next is not None else None
        body = Checkpoint(sequence, position.digest, following)
        ballots = self.votes.setdefault(sequence, Ballots())
        if core.me in ballots.cast:
            return
        statement = core.state(body)
        core.persist(Vouched(core.epoch.number, sequence, statement))
        ballots.add(statement, statement.body, good=True)
        core.broadcast(core.said(statement))

    def restored(self) -> None:
        """All records are read."""
        core = self._core
        self.votes = {at: votes for at, votes in self.votes.items() if at > core.low}
        self._told = core.low <= core.executed

    def own(self, above: int) -> list[Statement]:
        """My CHECKPOINT statements above a sequence."""
        return [
            ballots.cast[self._core.me].statement
            for sequence, ballots in sorted(self.votes.items())
            if sequence > above and self._core.me in ballots.cast
        ]

    def gathered(self) -> CheckpointCertificate | None:
        """The highest checkpoint that a quorum vouches for here, if it is a new one."""
        core = self._core
        for sequence in sorted(self.votes, reverse=True):
            ballots = self.votes[sequence]
            for body in ballots.leading(core.quorum):
                found = ballots.gathered(body, core.quorum, core.genuine)
                if found is not None:
                    statement = next(iter(found.values()))
                    checkpoint = _body(statement)
                    return CheckpointCertificate(core.epoch.number, checkpoint, joined(found, core.quorum))
        return None

    def holds(self, certificate: CheckpointCertificate) -> bool:
        """It is of an epoch that is known here, and proved."""
        epoch = self._core.epochs.numbered(certificate.epoch)
        return epoch is not None and checkpoint_holds(certificate, epoch, self._core.signatures)

    def stabilise(self, certificate: CheckpointCertificate) -> bool:
        """Takes a proved checkpoint of the current epoch as the stable one. False: it is an old one. True, and an
        epoch began, when it is the last of the current one."""
        core = self._core
        if certificate.epoch != core.epoch.number or certificate.checkpoint.sequence <= core.low:
            return False
        own = self.votes.get(certificate.checkpoint.sequence)
        self._judge(certificate, own.cast[core.me].digest if own and core.me in own.cast else None)
        core.stable = certificate
        self._told = False
        self.votes = {at: votes for at, votes in self.votes.items() if at > certificate.checkpoint.sequence}
        core.persist(Certified(certificate))
        if certificate.checkpoint.next is not None:
            boundary = Boundary(certificate)
            epoch = core.epochs.extend(boundary)
            if epoch is not None:
                self.votes.clear()
                core.emit(EpochBegan(epoch=epoch, boundary=boundary))
        self.tell()
        return True

    def tell(self) -> None:
        """The host hears of the stable checkpoint once it has executed that far."""
        core = self._core
        if self._told or core.stable is None or core.executed < core.stable.checkpoint.sequence:
            return
        if core.executed == core.stable.checkpoint.sequence:
            body = core.stable.checkpoint
            self._judge(core.stable, encode(Checkpoint(body.sequence, core.position.digest, body.next)))
        if not core.diverged:
            self._told = True
            core.emit(Stable(certificate=core.stable))

    def _judge(self, certificate: CheckpointCertificate, own: bytes | None) -> None:
        """What a quorum certifies is right; who has something else votes no more."""
        core, body = self._core, certificate.checkpoint
        if own is None or core.diverged or own == encode(body):
            return
        core.diverged = True
        mine = core.position.digest if core.executed == body.sequence else b""
        core.emit(Diverged(sequence=body.sequence, own=mine, certified=body.digest))


def _body(statement: Statement) -> Checkpoint:
    body = decode_body(statement)
    assert isinstance(body, Checkpoint)
    return body
