"""The journal: a node's open ledger file, and the state that it adds up to. Which batch comes next, an engine decides;
that it is durable first, applied in the loop's turn and told to everyone once, is the same for all engines."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import msgspec

from hivemind.errors import HivemindError, Unavailable
from hivemind.ledger import chain
from hivemind.ledger.contract import Batch
from hivemind.ledger.lock import DirectoryLock
from hivemind.ledger.log import Checkpoint, Log, Stored
from hivemind.ledger.pace import Pace
from hivemind.ledger.records import NOTHING, Beside
from hivemind.ledger.replay import Replayed, replay
from hivemind.state.state import Outcome, Signed, State

_logger = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")
FILE = "ledger.db"
_WORTH_A_BATCH = 5000
"""Bytes of a snapshot that cost about a tenth of what applying a batch does."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes are in bytes."""

    checkpoint_batches: int = 1000
    checkpoint_size: int = 8 * 2**20
    batch_operations: int = 1024
    batch_size: int = 4 * 2**20
    operation_size: int = 2**20


class Journal:
    """Open one with `await Journal.open(...)`; `close` it so that the next start replays nothing. One engine at a
    time writes to it."""

    @classmethod
    async def open(cls, directory: Path, *, hive: str | None, settings: Settings | None = None) -> Journal:
        """`hive`: whose ledger it has to be; None: whichever it is. Raises `Conflict` when another daemon holds
        `directory` or it is another hive's, `Corrupt` when its ledger cannot be trusted, `Unsupported` when a newer
        Hivemind wrote it."""
        lock = DirectoryLock(directory)
        thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        try:
            loop = asyncio.get_running_loop()
            path = directory / FILE
            log, found = await loop.run_in_executor(thread, _replayed, path, hive)
        except BaseException:
            thread.shutdown()
            lock.release()
            raise
        return cls(path, log, found, settings or Settings(), lock, thread, loop)

    def __init__(
        self,
        path: Path,
        log: Log,
        found: Replayed,
        settings: Settings,
        lock: DirectoryLock,
        thread: ThreadPoolExecutor,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.path, self.log, self.settings = path, log, settings
        self.state = found.state
        self.head = found.head
        """The chain's hash at the newest batch."""
        self.broken: HivemindError | None = None
        """Why nothing can be applied any more, if so."""
        self._batches, self._size, self._snapshot = found.batches, found.size, found.snapshot
        self._lock, self._thread, self._loop = lock, thread, loop
        self._pace = Pace()
        self._calls: deque[Future[Any]] = deque()
        """What the thread was given, in order. Whoever waited for it may be gone before it has ended."""
        self._wanted = False
        self._callbacks: list[Callable[[Batch], None]] = []

    async def append(
        self, batch: Batch, operations: Sequence[Signed], beside: Beside = NOTHING
    ) -> list[Outcome]:
        """Stores the next batch, with what belongs beside it, in one transaction; then applies it. Raises
        `Unavailable` when it could not be stored: then nothing has happened."""
        stored, write = self.storing(batch, beside)
        await self.write(write)
        return self.apply(stored, operations)

    def storing(self, batch: Batch, beside: Beside) -> tuple[Stored, Callable[[], None]]:
        """What the next batch is once it is stored, and what stores it and may raise `Unavailable`: to be given to
        `write` or `write_at_once`. After that it has to be applied."""
        body, before = chain.encode(batch), self.state.digest()
        stored = Stored(batch, chain.link(body), before, len(body))
        return stored, lambda: self.log.append(batch, body, before, beside)

    def apply(self, stored: Stored, operations: Sequence[Signed]) -> list[Outcome]:
        self.head = stored.hash
        outcomes = self.state.apply(stored.batch.sequence, stored.batch.time, operations)
        self._batches += 1
        self._size += stored.size
        return outcomes

    @property
    def writes_at_once(self) -> bool:
        """The disk is quick, and the thread does not use the file."""
        while self._calls and self._calls[0].done():
            self._calls.popleft()
        return self._pace.quick and not self._calls

    def write_at_once(self, write: Callable[[], None]) -> None:
        """While the loop waits. Only when it `writes_at_once`."""
        begin = time.perf_counter()
        try:
            write()
        finally:
            self._pace.took(time.perf_counter() - begin)

    async def write(self, write: Callable[[], None]) -> None:
        """While the thread waits."""
        self._pace.elsewhere()
        await self.in_thread(write)

    async def install(self, snapshot: bytes, head: bytes, proof: bytes) -> None:
        """The state that others have certified takes the place of what is here; subscribers hear of one batch. Raises
        what `State.restore` does, or `Unavailable`: then nothing has happened."""
        state = await self.in_thread(State.restore, snapshot)
        checkpoint = Checkpoint(
            sequence=state.sequence, time=state.time, head=head, digest=state.digest(), snapshot=snapshot
        )
        await self.in_thread(self.log.install, checkpoint, proof)
        self.adopt(state, head, len(snapshot))

    def adopt(self, state: State, head: bytes, size: int) -> None:
        """What the file holds by now: `state`, which is used up, and its snapshot has `size` bytes."""
        self.state.succeed(state)
        self.head, self.broken = head, None
        self._batches, self._size, self._snapshot = 0, 0, size
        self.tell(Batch(sequence=self.state.sequence, previous=head, time=self.state.time))

    async def swap(self, path: Path, aside: Path | None) -> None:
        """The closed ledger at `path` takes the place of this one, which is kept as `aside`. At every instant there
        is one whole file here. Raises `Unavailable`: then nothing has changed. `adopt` what it holds then."""
        await self.in_thread(self._swap, path, aside)

    def _swap(self, path: Path, aside: Path | None) -> None:
        self.log.close()
        try:
            log = self.path.with_name(self.path.name + "-wal")
            if log.exists() and log.stat().st_size:
                raise OSError("its write-ahead log could not be written back")
            if aside:
                aside.unlink(missing_ok=True)
                os.link(self.path, aside)
            os.replace(path, self.path)
            _sync(self.path.parent)
        except OSError as error:
            raise Unavailable(
                f"the ledger {self.path} could not be put aside: {error}",
                hint="check the disk, and try again",
            ) from error
        finally:
            self.log = Log(self.path)

    def subscribe(self, callback: Callable[[Batch], None]) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback) if callback in self._callbacks else None

    def tell(self, batch: Batch) -> None:
        for callback in tuple(self._callbacks):
            try:
                callback(batch)
            except Exception:
                _logger.exception("a subscriber of the ledger failed at batch %d", batch.sequence)

    def breaks(self, error: Exception) -> HivemindError:
        """From now on nothing is applied: what is stored and what is in memory may differ."""
        self.broken = error if isinstance(error, HivemindError) else Unavailable(
            f"the ledger stopped: {error!r}", hint="see the log; restart the daemon"
        )  # fmt: skip
        return self.broken

    @property
    def checkpoint_is_due(self) -> bool:
        """A large state has its checkpoints more rarely, so that they stay a small part of all work."""
        if self._wanted:
            return self._batches > 0
        batches = max(self.settings.checkpoint_batches, self._snapshot // _WORTH_A_BATCH)
        return self._batches >= batches or self._size >= max(self.settings.checkpoint_size, self._snapshot)

    def want_checkpoint(self) -> None:
        """Somebody needs a newer one: at the next occasion there is one."""
        self._wanted = True

    async def checkpoint(self) -> None:
        """Postponed, with a warning, when the disk has no room for it: the batches hold the same state."""
        sequence = self.state.sequence
        make = Checkpoint.made_later(self.state, self.head)
        self._batches = self._size = 0
        self._wanted = False
        try:
            self._snapshot = await self.in_thread(self._write, make)
        except Unavailable as error:
            _logger.warning("checkpoint %d was not written: %s", sequence, error.message)

    def _write(self, make: Callable[[], Checkpoint]) -> int:
        """The size of its snapshot."""
        checkpoint = make()
        self.log.checkpoint(checkpoint)
        return len(checkpoint.snapshot)

    async def in_thread(self, call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """One call after the other. What takes long touches the file only there."""
        called = self._thread.submit(call, *arguments, **named)
        self._calls.append(called)
        return await asyncio.wrap_future(called, loop=self._loop)

    async def close(self) -> None:
        """With a checkpoint, unless there is nothing new."""
        if self._batches and not self.broken:
            await self.checkpoint()
        await self.in_thread(self.log.close)
        self._thread.shutdown()
        self._lock.release()


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _replayed(path: Path, hive: str | None) -> tuple[Log, Replayed]:
    log = Log(path)
    try:
        found = replay(log, path, hive)
        if log.earlier:
            log.checkpoint(Checkpoint.of(found.state, found.head))
            found.batches = found.size = 0
    except BaseException:
        log.close()
        raise
    return log, found
