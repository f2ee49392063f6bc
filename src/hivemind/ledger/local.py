"""The ledger of one node: a local log.

Operations that arrive while a batch is being written form the next batch (group commit). The writing, with
its fsync, happens in a thread of its own; applying happens in the loop's turn after it, so readers of `state`
never see half a batch. One batch is written at a time: each records the digest of the state it applies to.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from hivemind.errors import HivemindError, Invalid, TooLarge, Unauthenticated, Unavailable, from_code
from hivemind.ledger import chain
from hivemind.ledger.contract import Batch, LedgerStatus, Receipt
from hivemind.ledger.lock import DirectoryLock
from hivemind.ledger.log import Checkpoint, Log
from hivemind.ledger.replay import replay
from hivemind.ledger.timer import Timer
from hivemind.model.json_text import is_deep
from hivemind.security.envelope import Envelope, genuine
from hivemind.state.operations import Operation, decode_operation
from hivemind.state.state import Signed

_logger = logging.getLogger(__name__)
T = TypeVar("T")
_DEEPEST = 100
_WORTH_A_BATCH = 5000
"""Bytes of a snapshot that cost about a tenth of what applying a batch does."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes are in bytes."""

    checkpoint_batches: int = 1000
    checkpoint_size: int = 8 * 2**20
    batch_operations: int = 1024
    batch_size: int = 4 * 2**20
    operation_size: int = 2**20


class _Pending(msgspec.Struct, frozen=True):
    envelope: Envelope
    operation: Operation
    answer: asyncio.Future[Receipt]


class LocalLedger:
    """Open one with `await LocalLedger.open(...)`; `close` it so that the next start replays nothing."""

    @classmethod
    async def open(
        cls, directory: Path, *, hive: str, clock: Callable[[], int], settings: Settings | None = None
    ) -> LocalLedger:
        """`clock` gives milliseconds since 1970. Raises `Conflict` when another daemon holds `directory`,
        `Corrupt` when its ledger cannot be trusted, `Unsupported` when a newer Hivemind wrote it."""
        lock = DirectoryLock(directory)
        thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        try:
            loop = asyncio.get_running_loop()
            ledger = await loop.run_in_executor(
                thread,
                lambda: cls(directory / "ledger.db", hive, clock, settings or Settings(), lock, thread, loop),
            )
        except BaseException:
            thread.shutdown()
            lock.release()
            raise
        ledger._timer.arm()
        return ledger

    def __init__(
        self,
        path: Path,
        hive: str,
        clock: Callable[[], int],
        settings: Settings,
        lock: DirectoryLock,
        thread: ThreadPoolExecutor,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._log = Log(path)
        try:
            found = replay(self._log, path, hive)
            if self._log.earlier:
                self._log.checkpoint(Checkpoint.of(found.state, found.head))
                found.batches = found.size = 0
        except BaseException:
            self._log.close()
            raise
        self.state = found.state
        self._head, self._batches, self._size = found.head, found.batches, found.size
        self._snapshot = found.snapshot
        self._settings, self._lock, self._thread, self._loop = settings, lock, thread, loop
        self._queue: deque[_Pending] = deque()
        self._answers: dict[tuple[str, str], asyncio.Future[Receipt]] = {}
        self._callbacks: list[Callable[[Batch], None]] = []
        self._timer = Timer(loop, clock, self.state, self._wake)
        self._work: asyncio.Task[None] | None = None
        self._closing = False
        self._broken: HivemindError | None = None

    async def submit(self, envelope: Envelope) -> Receipt:
        """Raises `Unauthenticated`, `Invalid`, `TooLarge`, `Unavailable`, or what state refuses it with."""
        if self._closing or self._broken:
            raise self._broken or Unavailable("the node is shutting down", hint="try again once it is back")
        key = (envelope.signer, envelope.nonce)
        operation = self._checked(envelope)
        answer = self._answers.get(key)
        if answer is None:
            answer = self._answers[key] = self._loop.create_future()
            # Whoever asked may be gone when the answer is an error; that is no "never retrieved" defect.
            answer.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._queue.append(_Pending(envelope, operation, answer))
            self._wake()
        receipt = await asyncio.shield(answer)
        outcome = receipt.outcome
        if outcome.code:
            raise from_code(outcome.code, outcome.message, outcome.hint)
        return receipt

    def subscribe(self, callback: Callable[[Batch], None]) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback) if callback in self._callbacks else None

    def status(self) -> LedgerStatus:
        sequence = self.state.sequence
        return LedgerStatus(
            engine="local",
            role="alone",
            sequence=sequence,
            agreed=sequence,
            checkpoint=sequence,
            can_decide=self._broken is None,
            why_not=self._broken.message if self._broken else "",
        )

    async def close(self) -> None:
        """Finishes what was submitted, writes a checkpoint and lets go of the directory. Twice is once."""
        if self._closing:
            return
        self._closing = True
        self._timer.cancel()
        if self._work:
            await self._work
        if self._batches and not self._broken:
            await self._checkpoint()
        await self._in_thread(self._log.close)
        self._thread.shutdown()
        self._lock.release()

    def _checked(self, envelope: Envelope) -> Operation:
        if len(envelope.payload) > self._settings.operation_size:
            raise TooLarge(
                f"the operation has more than {self._settings.operation_size} bytes",
                hint="make it smaller; large things belong into images and volumes",
            )
        if is_deep(envelope.payload, _DEEPEST):
            raise Invalid(
                "the operation is nested too deeply", hint=f"{_DEEPEST} lists and objects within each other"
            )
        if not genuine(envelope, self.state.hive):
            raise Unauthenticated(
                "the signature of the operation does not match",
                hint="sign it for this hive with the key it names",
            )
        try:
            return decode_operation(envelope.payload)
        except msgspec.DecodeError as error:
            raise Invalid(f"this is not an operation: {error}") from None

    def _wake(self) -> None:
        if self._work is None:
            self._work = self._loop.create_task(self._drain())

    async def _drain(self) -> None:
        """Writes batches until nothing is left to do."""
        try:
            while self._queue or (self._timer.due() and not self._closing):
                await self._commit(self._take())
        except Exception as error:
            _logger.exception("the ledger stops: a batch was not applied")
            self._broken = error if isinstance(error, HivemindError) else Unavailable(
                f"the ledger stopped: {error!r}", hint="see the log; restart the daemon"
            )  # fmt: skip
            self._refuse(list(self._queue), self._broken)
            self._queue.clear()
        finally:
            self._work = None
            if not self._closing and not self._broken:
                self._timer.arm()

    def _take(self) -> list[_Pending]:
        taken: list[_Pending] = []
        size = 0
        while (
            self._queue and len(taken) < self._settings.batch_operations and size < self._settings.batch_size
        ):
            taken.append(self._queue.popleft())
            size += len(taken[-1].envelope.payload)
        return taken

    async def _commit(self, taken: list[_Pending]) -> None:
        batch = Batch(
            sequence=self.state.sequence + 1,
            previous=self._head,
            time=self._timer.now(),
            envelopes=tuple(pending.envelope for pending in taken),
        )
        body = chain.encode(batch)
        try:
            await self._in_thread(self._log.append, batch, body, self.state.digest())
        except Unavailable as error:
            _logger.error("%s", error.message)
            self._timer.postpone()
            self._refuse(taken, error)
            return
        except Exception as error:
            self._refuse(taken, Unavailable(f"the operation could not be made durable: {error}"))
            raise
        self._head = chain.link(body)
        try:
            operations = [Signed(p.envelope.signer, p.envelope.nonce, p.operation) for p in taken]
            outcomes = self.state.apply(batch.sequence, batch.time, operations)
        except Exception as error:
            self._refuse(taken, Unavailable(f"the operation is stored but could not be applied: {error!r}"))
            raise
        self._timer.applied()
        for pending, outcome in zip(taken, outcomes, strict=True):
            self._answer(pending).set_result(Receipt(sequence=batch.sequence, outcome=outcome))
        self._tell(batch)
        self._batches += 1
        self._size += len(body)
        if self._checkpoint_is_due():
            await self._checkpoint()

    def _answer(self, pending: _Pending) -> asyncio.Future[Receipt]:
        return self._answers.pop((pending.envelope.signer, pending.envelope.nonce))

    def _refuse(self, taken: list[_Pending], error: HivemindError) -> None:
        for pending in taken:
            self._answer(pending).set_exception(error)

    def _tell(self, batch: Batch) -> None:
        for callback in tuple(self._callbacks):
            try:
                callback(batch)
            except Exception:
                _logger.exception("a subscriber of the ledger failed at batch %d", batch.sequence)

    def _checkpoint_is_due(self) -> bool:
        """A large state has its checkpoints more rarely, so that they stay a small part of all work."""
        batches = max(self._settings.checkpoint_batches, self._snapshot // _WORTH_A_BATCH)
        return self._batches >= batches or self._size >= max(self._settings.checkpoint_size, self._snapshot)

    async def _checkpoint(self) -> None:
        """Postponed, with a warning, when the disk has no room for it: the batches hold the same state."""
        sequence = self.state.sequence
        make = Checkpoint.made_later(self.state, self._head)
        self._batches = self._size = 0
        try:
            self._snapshot = await self._in_thread(self._write, make)
        except Unavailable as error:
            _logger.warning("checkpoint %d was not written: %s", sequence, error.message)

    def _write(self, make: Callable[[], Checkpoint]) -> int:
        """The size of its snapshot."""
        checkpoint = make()
        self._log.checkpoint(checkpoint)
        return len(checkpoint.snapshot)

    async def _in_thread(self, call: Callable[..., T], *arguments: object) -> T:
        return await self._loop.run_in_executor(self._thread, call, *arguments)
