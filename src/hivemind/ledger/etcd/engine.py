"""Batches in the order in which an etcd holds them.

Each batch has a key with its sequence, which is created once: whoever comes second finds the other's batch there,
applies that, and offers its own operations after it. Every node applies what is in etcd, in order; what is applied is
in the node's own file, too. etcd is believed: it survives crashes, not lies. The operations in it are signed all the
same, and one that is not is passed over by everybody alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Callable

from hivemind.errors import Corrupt, HivemindError, Unavailable
from hivemind.ledger import chain
from hivemind.ledger.contract import Batch, LedgerStatus, Receipt
from hivemind.ledger.engine import Answers, Pending, Superseded, checked, key_of, outcome_of
from hivemind.ledger.etcd.gateway import Gateway
from hivemind.ledger.etcd.settings import Etcd
from hivemind.ledger.journal import Journal
from hivemind.ledger.timer import Timer
from hivemind.model.base import UNREADABLE
from hivemind.security.envelope import Envelope
from hivemind.state.state import Outcome, Signed

_logger = logging.getLogger(__name__)
_PAUSE = 0.5
_SPREAD = 0.2
"""Seconds: nodes do not all offer an empty batch at the same moment."""
_AT_ONCE = 100
_BATCH_SIZE = 900 * 2**10
"""etcd takes requests of up to 1.5 MiB."""
_TIDY = 1000


class EtcdEngine:
    def __init__(
        self,
        journal: Journal,
        clock: Callable[[], int],
        settings: Etcd,
        *,
        decides: Callable[[], bool] = lambda: True,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._journal, self._state, self._settings = journal, journal.state, settings
        self._decides, self._ended = decides, ended
        self._loop = asyncio.get_running_loop()
        self._gateway = Gateway(settings)
        hive = journal.state.hive_record
        self._prefix = f"{settings.prefix}/{hive.domain if hive else journal.state.hive}/batch/"
        self._queue: deque[Pending] = deque()
        self._answers = Answers(self._loop)
        self._timer = Timer(self._loop, clock, journal.state, self._look)
        self._wake = asyncio.Event()
        self._trouble = ""
        self._stopping = False
        self._tasks = [self._loop.create_task(self._run()), self._loop.create_task(self._watch())]
        self._timer.arm()

    async def submit(self, envelope: Envelope) -> Receipt:
        """Raises `Unauthenticated`, `Invalid`, `TooLarge`, `Unavailable`, or what state refuses it with."""
        if self._journal.broken:
            raise self._journal.broken
        if self._stopping:
            raise Superseded
        largest = min(self._journal.settings.operation_size, _BATCH_SIZE)
        operation = checked(envelope, self._state.hive, largest)
        answer = self._answers.expect(envelope, lambda: self._take_on(Pending(envelope, operation)))
        done, _ = await asyncio.wait([answer], timeout=self._settings.answer_within)
        if not done:
            raise Unavailable(
                f"etcd has not decided within {self._settings.answer_within:g} s"
                + (f" ({self._trouble})" if self._trouble else "")
                + "; it may still do this",
                hint="look whether it was done once etcd is back: hivemind cluster status",
            )
        return await outcome_of(answer)

    def _take_on(self, pending: Pending) -> None:
        self._queue.append(pending)
        self._look()

    def _look(self) -> None:
        self._wake.set()

    def status(self) -> LedgerStatus:
        trouble = self._journal.broken.message if self._journal.broken else self._trouble
        return LedgerStatus(
            engine="etcd",
            role="learner",
            sequence=self._state.sequence,
            agreed=self._state.sequence,
            checkpoint=self._state.sequence,
            can_decide=not trouble,
            why_not=trouble,
        )

    async def stop(self) -> None:
        """Finishes what is being written. Who waits for an answer is sent on."""
        if self._stopping:
            return
        self._stopping = True
        self._timer.cancel()
        self._wake.set()
        self._tasks[1].cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._answers.refuse_all(Superseded())

    # -- the work --------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Applies what is there, then offers what is wanted, until there is neither; then waits to be woken."""
        while not self._stopping:
            self._wake.clear()
            try:
                await self._catch_up()
                self._trouble = ""
                if not self._decides():
                    self._ended()
                    return
                if self._queue or self._timer.due():
                    await self._offer()
                    continue
            except Unavailable as error:
                self._complain(error)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_PAUSE):
                        await self._wake.wait()
                continue
            except Exception as error:
                _logger.exception("the ledger stops: a batch was not applied")
                self._answers.refuse_all(self._journal.breaks(error))
                return
            self._timer.arm()
            await self._wake.wait()

    def _complain(self, error: HivemindError) -> None:
        if self._trouble != error.message:
            _logger.error("%s", error.message)
        self._trouble = error.message

    async def _watch(self) -> None:
        """Wakes the other task whenever something changes in etcd, or a connection was made anew."""
        while not self._stopping:
            with contextlib.suppress(Unavailable):
                _, revision = await self._gateway.range(self._prefix, self._prefix + "\0", 1)
                async for _ in self._gateway.watch(self._prefix, _after(self._prefix), revision):
                    self._look()
            self._look()
            await asyncio.sleep(_PAUSE)

    async def _catch_up(self) -> None:
        while not self._stopping and self._decides():
            first = self._key(self._state.sequence + 1)
            found, _ = await self._gateway.range(first, _after(self._prefix), _AT_ONCE)
            if not found:
                return
            if found[0][0] != first:
                raise Corrupt(
                    f"etcd has no batch {self._state.sequence + 1} any more",
                    hint="this node was away for too long: let it leave the hive and join it anew",
                )
            for _, body in found:
                if self._stopping or not self._decides():
                    return
                await self._apply(_read(body))

    async def _apply(self, batch: Batch) -> None:
        if (batch.sequence, batch.previous) != (self._state.sequence + 1, self._journal.head):
            raise Corrupt(
                f"batch {batch.sequence} in etcd does not follow from what this node has",
                hint="nodes of two lineages use one etcd: let this node leave the hive and join it anew",
            )
        outcomes: list[Outcome | None] = [None] * len(batch.envelopes)
        operations: list[Signed] = []
        places: list[int] = []
        for place, envelope in enumerate(batch.envelopes):
            with contextlib.suppress(HivemindError):
                operation = checked(envelope, self._state.hive, self._journal.settings.operation_size)
                operations.append(Signed(envelope.signer, envelope.nonce, operation, envelope.since))
                places.append(place)
        for place, outcome in zip(places, await self._journal.append(batch, operations), strict=True):
            outcomes[place] = outcome
        self._timer.applied()
        for envelope, result in zip(batch.envelopes, outcomes, strict=True):
            if result is not None:
                self._answers.give(key_of(envelope), Receipt(sequence=batch.sequence, outcome=result))
        self._journal.tell(batch)
        if self._journal.checkpoint_is_due:
            await self._journal.checkpoint()
        if batch.sequence % _TIDY == 0 and batch.sequence > self._settings.kept:
            await self._gateway.delete(self._prefix, self._key(batch.sequence - self._settings.kept))

    async def _offer(self) -> None:
        """What is wanted, as the next batch. Whether it became that, the next look tells: of what did, somebody
        waits no more."""
        waiting = set(self._answers.waiting())
        self._queue = deque(pending for pending in self._queue if key_of(pending.envelope) in waiting)
        taken: list[Envelope] = []
        size = 0
        for pending in self._queue:
            size += len(pending.envelope.payload)
            if taken and (size > _BATCH_SIZE or len(taken) >= self._journal.settings.batch_operations):
                break
            taken.append(pending.envelope)
        if not taken:
            if not self._timer.due():
                return
            await asyncio.sleep(random.random() * _SPREAD)
        batch = Batch(
            sequence=self._state.sequence + 1,
            previous=self._journal.head,
            time=self._timer.now(),
            envelopes=tuple(taken),
        )
        if not await self._gateway.create(self._key(batch.sequence), chain.encode(batch)):
            _logger.debug("batch %d was another node's", batch.sequence)

    def _key(self, sequence: int) -> str:
        return f"{self._prefix}{sequence:016d}"


def _after(prefix: str) -> str:
    """The first key that does not begin so."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def _read(body: bytes) -> Batch:
    try:
        return chain.decode(body)
    except (*UNREADABLE, ValueError) as error:
        raise Corrupt(f"a batch in etcd cannot be read: {error}") from None
