"""Where a node stands, as its machine is told; and the checkpoints at which others can join it."""

from __future__ import annotations

import logging

from hivemind.errors import Unavailable
from hivemind.ledger.journal import Journal
from hivemind.ledger.parts import attested
from hivemind.ledger.voters import next_of
from hivemind.protocols.pbft.events import Position
from hivemind.protocols.pbft.wire import CheckpointCertificate, encode

_logger = logging.getLogger(__name__)
_SOONEST, _LATEST = 10, 1_000
"""Milliseconds between empty batches that do not move state's deadline into the future."""


class Place:
    """`interval`: every so many sequences the voters certify their state."""

    def __init__(self, journal: Journal, interval: int) -> None:
        self._journal, self._state, self._interval = journal, journal.state, interval
        self._stuck = 0
        self._unproven: set[int] = set()
        """Checkpoints whose certificate is still to come."""

    def position(self) -> Position:
        state = self._state
        return Position(
            sequence=state.sequence,
            digest=attested(state, self._journal.head),
            due=self._due(),
            next=next_of(state),
        )

    def _due(self) -> int | None:
        """When state's next timer wants a batch. One that a batch does not satisfy is put off, longer each time, so
        that it never becomes a busy loop; but an epoch that is to begin is always waited for at once."""
        deadline = self._state.deadline()
        if deadline is None or deadline > self._state.time or next_of(self._state):
            self._stuck = 0
            return deadline
        self._stuck += 1
        return self._state.time + min(_SOONEST << min(self._stuck, 10), _LATEST)

    @property
    def checkpoint_is_due(self) -> bool:
        """Only of a sequence at which the voters certify the state; always of the last one of an epoch."""
        sequence, following = self._state.sequence, next_of(self._state)
        last = following is not None and following.since == sequence + 1
        return last or (self._journal.checkpoint_is_due and not sequence % self._interval)

    async def checkpoint(self) -> None:
        self._unproven.add(self._state.sequence)
        await self._journal.checkpoint()

    def wants(self, certificate: CheckpointCertificate) -> bool:
        """It proves a checkpoint that is there."""
        return certificate.checkpoint.sequence in self._unproven

    async def prove(self, certificate: CheckpointCertificate) -> None:
        """Keeps what others can check such a checkpoint by."""
        sequence = certificate.checkpoint.sequence
        if self.wants(certificate):
            try:
                await self._journal.in_thread(self._journal.log.prove, sequence, encode(certificate))
            except Unavailable as error:
                _logger.warning("the proof of checkpoint %d was not kept: %s", sequence, error.message)
        self.passed(certificate)

    def passed(self, certificate: CheckpointCertificate) -> None:
        """What is not proved by now is not proved any more."""
        if self._unproven:
            stable = certificate.checkpoint.sequence
            self._unproven = {each for each in self._unproven if each > stable}
