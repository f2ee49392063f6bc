"""What the parts of a replica share: who it is, where it stands, and how it speaks.

Effects are gathered in order. Records are gathered too, and become one `Persist` right before the next effect that
must not happen without them: so what is made durable together costs one write.
"""

from __future__ import annotations

from collections.abc import Iterable

from hivemind.model.hive import Epoch
from hivemind.protocols.machine import Dice, Micros, Persist, Send, Signer
from hivemind.protocols.pbft.certificate import primary
from hivemind.protocols.pbft.durable import Record, encode_records
from hivemind.protocols.pbft.epochs import Epochs
from hivemind.protocols.pbft.events import Convict, Effect, Host, Position
from hivemind.protocols.pbft.quorum import quorum, weak
from hivemind.protocols.pbft.settings import Settings
from hivemind.protocols.pbft.wire import (
    Accused,
    Body,
    CheckpointCertificate,
    Evidence,
    Packet,
    Said,
    encode,
)
from hivemind.security.statement import Statement

_ENDLESS = 2**63


class Core:
    def __init__(
        self,
        signer: Signer,
        epochs: Epochs,
        position: Position,
        host: Host,
        dice: Dice,
        settings: Settings,
    ) -> None:
        self.signer, self.me = signer, signer.public
        self.epochs, self.signatures = epochs, epochs.signatures
        self.host, self.dice, self.settings = host, dice, settings
        self.now: Micros = 0
        self.position = position
        self.view = 0
        self.active = True
        """Not between views."""
        self.stable: CheckpointCertificate | None = epochs.boundary.certificate if epochs.boundary else None
        """The highest proved checkpoint."""
        self.abstains = False
        self.diverged = False
        self.syncing = False
        self.heard: dict[str, Micros] = {}
        self.dropped: dict[str, int] = {}
        self._effects: list[Effect] = []
        self._records: list[Record] = []
        self._convicted: dict[tuple[int, str], None] = {}

    # Where it stands.

    @property
    def epoch(self) -> Epoch:
        return self.epochs.current

    @property
    def voters(self) -> tuple[str, ...]:
        return self.epochs.current.voters

    @property
    def quorum(self) -> int:
        return quorum(len(self.epochs.current.voters))

    @property
    def weak(self) -> int:
        return weak(len(self.voters))

    @property
    def primary(self) -> str:
        return primary(self.epochs.current, self.view)

    @property
    def informants(self) -> tuple[str, ...]:
        """Who is asked for what is lacking: the voters, and, by who has not executed all of the epochs before, the
        voters of these. A new voter may be the only one, and has to learn from those before it."""
        epochs = [self.epoch]
        if self.executed < self.epoch.since - 1:
            before = (self.epochs.numbered(self.epoch.number - 1), self.epochs.deciding(self.executed + 1))
            epochs += [epoch for epoch in before if epoch is not None]
        return tuple(sorted({voter for epoch in epochs for voter in epoch.voters} - {self.me}))

    @property
    def is_voter(self) -> bool:
        return self.me in self.epochs.current.voters

    @property
    def may_vote(self) -> bool:
        """A syncing replica does not vote, nor one that does not know what it voted for, nor one whose state is
        wrong."""
        return self.is_voter and not (self.abstains or self.diverged or self.syncing)

    @property
    def executed(self) -> int:
        return self.position.sequence

    @property
    def low(self) -> int:
        """h: nothing up to here is voted on any more."""
        before, stable = self.epochs.current.since - 1, self.stable
        if stable is None or stable.checkpoint.sequence < before:
            return before
        return stable.checkpoint.sequence

    @property
    def high(self) -> int:
        """H: nothing above is voted on yet. Never beyond what belongs to this epoch, as far as is known."""
        return min(self.low + self.settings.log, self.last)

    @property
    def ends(self) -> bool:
        """The next epoch is agreed: what is below it has to be decided, with or without requests."""
        following = self.position.next
        return following is not None and following.number == self.epochs.current.number + 1

    @property
    def last(self) -> int:
        """The last sequence of this epoch, as far as is known."""
        following = self.position.next
        return following.since - 1 if following is not None and self.ends else _ENDLESS

    # How it speaks.

    def send(self, to: str, packet: Packet) -> None:
        self.emit(Send(to, encode(packet)))

    def broadcast(self, packet: Packet, to: Iterable[str] | None = None) -> None:
        """To all other voters; encoded once."""
        message = encode(packet)
        for node in self.voters if to is None else to:
            if node != self.me:
                self.emit(Send(node, message))

    def state(self, body: Body) -> Statement:
        return self.signatures.sign(self.signer, self.epoch.number, body)

    def said(self, statement: Statement, attached: bytes = b"") -> Said:
        return Said(self.epoch.number, statement, attached)

    def genuine(self, statement: Statement) -> bool:
        return self.signatures.genuine(self.epoch.number, statement)

    def persist(self, record: Record) -> None:
        """Durable before whatever is emitted next."""
        self._records.append(record)

    def replace(self, records: list[Record]) -> None:
        """All earlier records may go."""
        self._records.clear()
        self._effects.append(Persist(encode_records(records), replaces=True))

    def emit(self, effect: Effect) -> None:
        self._flush()
        self._effects.append(effect)

    def taken(self) -> list[Effect]:
        self._flush()
        effects, self._effects = self._effects, []
        return effects

    def drop(self, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def is_convicted(self, voter: str) -> bool:
        return (self.epoch.number, voter) in self._convicted

    def convict(self, culprit: str, first: Statement, second: Statement | None = None) -> None:
        """The statements are verified. Told to the host and to all voters, once."""
        if not self.is_convicted(culprit):
            self._convicted[self.epoch.number, culprit] = None
            evidence = Evidence(self.epoch.number, first, second)
            self.emit(Convict(culprit=culprit, evidence=evidence))
            self.broadcast(Accused(evidence))

    def _flush(self) -> None:
        if self._records:
            self._effects.append(Persist(encode_records(self._records)))
            self._records.clear()
