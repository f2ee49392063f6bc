"""From the logs to the view: a batch shows once everything that its writer had seen is there."""

from __future__ import annotations

from collections.abc import Sequence

from hivemind.protocols.autobee.core import Core
from hivemind.protocols.autobee.entry import Body, Entry
from hivemind.protocols.autobee.mending import Mending
from hivemind.protocols.autobee.writer_log import WriterLog


class Delivery:
    def __init__(self, core: Core, mending: Mending) -> None:
        self._core, self._mending = core, mending

    def deliver(self, sender: str) -> None:
        """Batches whose causes are here go to the view, until none is left that can."""
        core = self._core
        arrived: list[Entry] = []
        touched: set[str] = {sender} if sender in core.logs else set()
        progress = True
        while progress:
            progress = False
            for writer in sorted(writer for writer, log in core.logs.items() if log.waiting):
                while batch := self._ready(core.logs[writer], sender):
                    arrived += core.taken(core.logs[writer], batch)
                    touched.add(writer)
                    progress = True
        core.show(core.order.apply(arrived))
        for writer in sorted(touched):
            self._mending.settle(core.logs[writer], sender)

    def _ready(self, log: WriterLog, sender: str) -> list[Body]:
        """The next batch, taken out of what waits; nothing when it must go on waiting."""
        batch: list[Body] = []
        for body in log.waiting:
            if batch and (not batch[-1].more or body.sequence != batch[-1].sequence + 1):
                break
            batch.append(body)
        if not batch or (batch[-1].more and batch[-1].sequence == log.length):
            return []
        if log is not self._core.own and not self._caused(log, batch, sender):
            return []
        for _ in batch:
            log.waiting.popleft()
        return batch

    def _caused(self, log: WriterLog, batch: Sequence[Body], sender: str) -> bool:
        """Whether all that the writer had seen is here; what was said by those who do not count any more is not
        waited for."""
        core = self._core
        if not all(core.plausible(body) for body in batch):
            return False
        for seen in batch[0].seen:
            other = core.logs.get(seen.writer.hex())
            if other is None or other.evidence or other.fork > seen.fork:
                continue
            if other.fork < seen.fork or other.delivered < seen.length:
                if sender and (other.fork, other.length) < (seen.fork, seen.length):
                    core.ask(sender, other, seen.fork)
                return False
        return True
