"""From what a replica must not forget to records, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from hivemind.errors import Corrupt
from hivemind.protocols.pbft.amnesia import Amnesia
from hivemind.protocols.pbft.checkpoints import Checkpoints
from hivemind.protocols.pbft.core import Core
from hivemind.protocols.pbft.durable import (
    Accepted,
    Bounded,
    Certified,
    Entered,
    Forgot,
    Left,
    Proposed,
    Record,
    Trusted,
    Vouched,
    WasPrepared,
)
from hivemind.protocols.pbft.ordering import Ordering
from hivemind.protocols.pbft.slots import Ballots
from hivemind.protocols.pbft.viewchange import ViewChanges
from hivemind.protocols.pbft.wire import Checkpoint, Malformed, NewView, PrePrepare, ViewChange, decode_body
from hivemind.security.statement import Statement

T = TypeVar("T")


class Memory:
    def __init__(
        self,
        core: Core,
        ordering: Ordering,
        checkpoints: Checkpoints,
        views: ViewChanges,
        amnesia: Amnesia,
    ) -> None:
        self._core, self._ordering = core, ordering
        self._checkpoints, self._views, self._amnesia = checkpoints, views, amnesia

    # What still matters.

    def records(self) -> list[Record]:
        """In the order in which they are to be read."""
        core, number = self._core, self._core.epoch.number
        records: list[Record] = []
        if core.abstains:
            records.append(self._amnesia.bound or Forgot(number))
        if core.stable is not None:
            records.append(Certified(core.stable))
        change = self._views.changes.get(core.me)
        if core.active and self._views.proof is not None:
            records.append(Entered(number, core.view, self._views.proof))
        elif not core.active and change is not None:
            records.append(Left(number, core.view, change[0]))
        for sequence, slot in sorted(self._ordering.slots.items()):
            if slot.voted and slot.offer is not None:
                records.append(Accepted(number, slot.offer, self._kept(slot.digest, sequence)))
            if slot.prepared is not None:
                if slot.prepared.digest != slot.digest or not slot.voted:
                    body = self._kept(slot.prepared.digest, sequence)
                    records += [Proposed(body)] if body else []
                records.append(WasPrepared(number, slot.prepared))
        for statement in self._checkpoints.own(core.low):
            vouched = _read(statement, Checkpoint)
            records.append(Vouched(number, vouched.sequence, statement))
        return records

    def _kept(self, digest: bytes, sequence: int) -> bytes:
        """The ledger has what is executed."""
        if sequence <= self._core.executed:
            return b""
        return self._ordering.body(digest, sequence) or b""

    # What it was.

    def restore(self, records: Iterable[Record]) -> None:
        """Raises `Corrupt` for records of an epoch that the chain does not have."""
        core = self._core
        for record in records:
            epoch = record.certificate.epoch if isinstance(record, Certified) else getattr(record, "epoch", 0)
            if epoch > core.epoch.number:
                raise Corrupt(
                    f"there are votes of epoch {epoch}, and the chain ends with epoch {core.epoch.number}",
                    hint="restore the chain of epochs, or take the log of votes away",
                )
            if isinstance(record, Forgot | Bounded | Trusted):
                core.abstains = not isinstance(record, Trusted)
                self._amnesia.bound = record if isinstance(record, Bounded) else None
            elif isinstance(record, Proposed):
                self._ordering.remember(record.proposal)
            elif epoch == core.epoch.number:
                self._replay(record)
        self._ordering.restored()
        self._checkpoints.restored()

    def _replay(self, record: Record) -> None:
        core, ordering = self._core, self._ordering
        if isinstance(record, Certified):
            body = record.certificate.checkpoint
            if body.next is None and body.sequence > core.low:
                core.stable = record.certificate
        elif isinstance(record, Left):
            core.view, core.active = record.view, False
            self._views.proof = None
            change = _read(record.change, ViewChange)
            self._views.changes[core.me] = (record.change, change)
            ordering.give([])
        elif isinstance(record, Entered):
            core.view, core.active = record.view, True
            self._views.proof = record.proof
            self._views.changes.pop(core.me, None)
            view = _read(record.proof, NewView)
            ordering.give([(statement, _read(statement, PrePrepare)) for statement in view.proposals])
        elif isinstance(record, Accepted):
            offer = _read(record.preprepare, PrePrepare)
            if offer.view == core.view and core.active:
                ordering.restore_vote(record.preprepare, offer)
            if record.proposal:
                ordering.remember(record.proposal)
        elif isinstance(record, WasPrepared):
            ordering.restore_prepared(record.certificate)
        elif isinstance(record, Vouched):
            statement = record.checkpoint
            ballots = self._checkpoints.votes.setdefault(record.sequence, Ballots())
            ballots.add(statement, statement.body, good=True)


def _read(statement: Statement, kind: type[T]) -> T:
    try:
        body = decode_body(statement)
    except Malformed as error:
        raise Corrupt(f"a vote cannot be read: {error}", hint="take the log of votes away") from None
    if not isinstance(body, kind):
        raise Corrupt("a vote is of another kind than its record", hint="take the log of votes away")
    return body
