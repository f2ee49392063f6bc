"""The engine of a node that decides alone, and the ledger that has no other.

Operations that arrive while a batch is being written form the next batch (group commit). The writing, with
its fsync, happens in a thread of its own; applying happens in the loop's turn after it, so readers of `state`
never see half a batch. One batch is written at a time: each records the digest of the state it applies to.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from pathlib import Path

from hivemind.errors import HivemindError, Unavailable
from hivemind.ledger.contract import Batch, LedgerStatus, Receipt
from hivemind.ledger.engine import Answers, Pending, Superseded, checked, key_of, outcome_of
from hivemind.ledger.journal import Journal, Settings
from hivemind.ledger.timer import Timer
from hivemind.security.envelope import Envelope
from hivemind.state.state import Signed

__all__ = ["LocalEngine", "LocalLedger", "Settings"]
_logger = logging.getLogger(__name__)


class LocalEngine:
    """`decides`: whether this engine is still the one that is wanted; asked before each batch, `ended` is called when
    it is not."""

    def __init__(
        self,
        journal: Journal,
        clock: Callable[[], int],
        *,
        decides: Callable[[], bool] = lambda: True,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._journal, self._state, self._settings = journal, journal.state, journal.settings
        self._decides, self._ended = decides, ended
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Pending] = deque()
        self._answers = Answers(self._loop)
        self._timer = Timer(self._loop, clock, journal.state, self._wake)
        self._work: asyncio.Task[None] | None = None
        self._stopping = False
        self._wake()

    async def submit(self, envelope: Envelope) -> Receipt:
        """Raises `Unauthenticated`, `Invalid`, `TooLarge`, `Unavailable`, or what state refuses it with."""
        if self._journal.broken:
            raise self._journal.broken
        if self._stopping:
            raise Superseded
        operation = checked(envelope, self._state.hive, self._settings.operation_size)
        return await outcome_of(
            self._answers.expect(envelope, lambda: self._take_on(Pending(envelope, operation)))
        )

    def _take_on(self, pending: Pending) -> None:
        self._queue.append(pending)
        self._wake()

    def status(self) -> LedgerStatus:
        sequence, broken = self._state.sequence, self._journal.broken
        return LedgerStatus(
            engine="local",
            role="alone",
            sequence=sequence,
            agreed=sequence,
            checkpoint=sequence,
            can_decide=broken is None,
            why_not=broken.message if broken else "",
        )

    async def stop(self) -> None:
        """What was submitted is decided still, as long as this engine is wanted."""
        self._stopping = True
        self._timer.cancel()
        if self._work:
            await self._work
        self._answers.refuse_all(Superseded())

    # -- the work --------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        if self._work is None:
            self._work = self._loop.create_task(self._drain())

    def _more(self) -> bool:
        wanted = self._queue or (self._timer.due() and not self._stopping)
        return bool(wanted) and not self._journal.broken and self._decides()

    async def _drain(self) -> None:
        """Writes batches until nothing is left to do."""
        try:
            while self._more():
                await self._commit(self._take())
        except Exception as error:
            _logger.exception("the ledger stops: a batch was not applied")
            self._answers.refuse_all(self._journal.breaks(error))
            self._queue.clear()
        finally:
            self._work = None
            if not self._decides():
                self._ended()
            elif not self._stopping and not self._journal.broken:
                self._timer.arm()

    def _take(self) -> list[Pending]:
        taken: list[Pending] = []
        size = 0
        while (
            self._queue and len(taken) < self._settings.batch_operations and size < self._settings.batch_size
        ):
            taken.append(self._queue.popleft())
            size += len(taken[-1].envelope.payload)
        return taken

    async def _commit(self, taken: list[Pending]) -> None:
        batch = Batch(
            sequence=self._state.sequence + 1,
            previous=self._journal.head,
            time=self._timer.now(),
            envelopes=tuple(pending.envelope for pending in taken),
        )
        held = ((pending.envelope, pending.operation) for pending in taken)
        operations = [Signed(each.signer, each.nonce, what, each.since) for each, what in held]
        try:
            outcomes = await self._journal.append(batch, operations)
        except Unavailable as error:
            _logger.error("%s", error.message)
            self._timer.postpone()
            self._refuse(taken, error)
            return
        except Exception as error:
            stored = self._journal.head != batch.previous
            what = "is stored but could not be applied" if stored else "could not be made durable"
            self._refuse(taken, Unavailable(f"the operation {what}: {error!r}"))
            raise
        self._timer.applied()
        for pending, outcome in zip(taken, outcomes, strict=True):
            self._answers.give(key_of(pending.envelope), Receipt(sequence=batch.sequence, outcome=outcome))
        self._journal.tell(batch)
        if self._journal.checkpoint_is_due:
            await self._journal.checkpoint()

    def _refuse(self, taken: list[Pending], error: HivemindError) -> None:
        for pending in taken:
            self._answers.refuse(key_of(pending.envelope), error)


class LocalLedger:
    """Open one with `await LocalLedger.open(...)`; `close` it so that the next start replays nothing."""

    @classmethod
    async def open(
        cls, directory: Path, *, hive: str, clock: Callable[[], int], settings: Settings | None = None
    ) -> LocalLedger:
        """`clock` gives milliseconds since 1970. Raises what `Journal.open` does."""
        return cls(await Journal.open(directory, hive=hive, settings=settings), clock)

    def __init__(self, journal: Journal, clock: Callable[[], int]) -> None:
        self.state = journal.state
        self.journal = journal
        self.engine = LocalEngine(journal, clock)
        self.subscribe = journal.subscribe
        self.status = self.engine.status
        self._closing = False

    async def submit(self, envelope: Envelope) -> Receipt:
        """Raises what `LocalEngine.submit` does; `Unavailable` once it closes."""
        try:
            return await self.engine.submit(envelope)
        except Superseded:
            raise shutting_down() from None

    async def close(self) -> None:
        """Finishes what was submitted, writes a checkpoint and lets go of the directory. Twice is once."""
        if not self._closing:
            self._closing = True
            await self.engine.stop()
            await self.journal.close()


def shutting_down() -> HivemindError:
    return Unavailable("the node is shutting down", hint="try again once it is back")
