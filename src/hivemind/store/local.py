"""The store of one node: its own signed log, and the sorted view over it.

Writes change the view at once, in the caller's turn of the loop. A background flush, at most `delay` seconds
later, makes everything that came together durable as one signed group, in a thread of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from hivemind.errors import HivemindError, Invalid, Unavailable
from hivemind.security.identity import Identity
from hivemind.store.contract import Entry
from hivemind.store.log import Log
from hivemind.store.view import View
from hivemind.store.watch import Watch

_logger = logging.getLogger(__name__)
_LONGEST_KEY = 512
T = TypeVar("T")
Callback = Callable[[Iterable[Entry]], None]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    delay: float = 0.05
    """Seconds a write may wait for company before it is flushed."""
    retry: float = 1.0
    """Seconds between attempts while the disk refuses."""
    waste: int = 1000
    """Superseded entries that may lie in the log before it is compacted, at least; more if more is alive."""
    backlog: int = 10_000
    """Unwritten entries beyond which only the newest of each key are kept for the disk."""


class LocalStore:
    """Open one with `await LocalStore.open(...)`; `close` flushes."""

    @classmethod
    async def open(
        cls, path: Path, identity: Identity, *, clock: Callable[[], int], settings: Settings | None = None
    ) -> LocalStore:
        """`clock` gives milliseconds since 1970. Raises `Corrupt` when more than the tail is damaged."""
        loop = asyncio.get_running_loop()
        thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        try:
            log = await loop.run_in_executor(thread, Log, path, identity)
        except BaseException:
            thread.shutdown()
            raise
        return cls(log, identity.public, clock, settings or Settings(), thread, loop)

    def __init__(
        self,
        log: Log,
        writer: str,
        clock: Callable[[], int],
        settings: Settings,
        thread: ThreadPoolExecutor,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.writer = writer
        self._log, self._clock, self._settings, self._thread, self._loop = log, clock, settings, thread, loop
        self._view = View()
        self._view.load({key: entry for key, entry in log.latest.items() if entry.value is not None})
        log.latest = {}
        self._sequence = log.sequence
        self._pending: list[Entry] = []
        self._notices: deque[list[Entry]] = deque()
        self._telling = False
        self._subscribers: list[tuple[str, Callback]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._closed = False

    # -- reading ---------------------------------------------------------------------------------------------

    def get(self, key: str) -> Entry | None:
        return self._view.get(key)

    def range(
        self, prefix: str, *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        return self._view.range(prefix, after, limit, reverse)

    def subscribe(self, prefix: str, callback: Callback) -> Callable[[], None]:
        member = (prefix, callback)
        self._subscribers.append(member)
        return lambda: self._subscribers.remove(member) if member in self._subscribers else None

    def watch(self, prefix: str) -> AsyncIterator[Entry]:
        return Watch(self, prefix)

    # -- writing ---------------------------------------------------------------------------------------------

    def put(self, key: str, value: bytes) -> None:
        self.write({key: value})

    def delete(self, key: str) -> None:
        self.write({key: None})

    def write(self, batch: Mapping[str, bytes | None]) -> None:
        """Raises `Invalid` for a bad key, before anything is changed. Deleting what is not there does nothing."""
        if self._closed:
            raise Unavailable("the store is closed", hint="try again once the node is back")
        for key in batch:
            if not key or len(key) > _LONGEST_KEY:
                raise Invalid(f"a key has 1 to {_LONGEST_KEY} characters, not {len(key)}")
        time, entries = self._clock(), []
        for key, value in batch.items():
            if value is None and self._view.get(key) is None:
                continue
            self._sequence += 1
            entry = Entry(key, value, self.writer, self._sequence, time)
            self._view.set(entry)
            entries.append(entry)
        if entries:
            self._pending += entries
            self._schedule(self._settings.delay)
            self._tell(entries)

    def _tell(self, entries: list[Entry]) -> None:
        """A subscriber that writes is heard after everyone has heard what it reacts to."""
        self._notices.append(entries)
        if self._telling:
            return
        self._telling = True
        try:
            while self._notices:
                self._tell_everyone(self._notices.popleft())
        finally:
            self._telling = False

    def _tell_everyone(self, entries: list[Entry]) -> None:
        for prefix, callback in tuple(self._subscribers):
            touched = [entry for entry in entries if entry.key.startswith(prefix)]
            if not touched:
                continue
            try:
                callback(touched)
            except Exception:
                _logger.exception("a subscriber of %r in the store failed", prefix)

    # -- flushing --------------------------------------------------------------------------------------------

    def _schedule(self, delay: float) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(delay, self._begin)

    def _begin(self) -> None:
        self._timer = None
        if self._flushing is None:
            self._flushing = self._loop.create_task(self._in_background())

    async def _in_background(self) -> None:
        delay = self._settings.delay
        try:
            await self._write_out()
        except HivemindError as error:
            _logger.warning("%s", error.message)
            delay = self._settings.retry
        finally:
            self._flushing = None
        if self._pending and not self._closed:
            self._schedule(delay)

    async def flush(self) -> None:
        """Everything written so far is in the log. Raises `Unavailable` when the disk refuses; it is kept."""
        while self._flushing:
            await asyncio.shield(self._flushing)
        if self._pending:
            self._flushing = self._loop.create_task(self._write_out())
            self._flushing.add_done_callback(self._flushed)
            await asyncio.shield(self._flushing)

    def _flushed(self, task: asyncio.Task[None]) -> None:
        self._flushing = None
        failed = not task.cancelled() and task.exception()
        if self._pending and not self._closed:
            self._schedule(self._settings.retry if failed else self._settings.delay)

    async def _write_out(self) -> None:
        group, self._pending = self._pending, []
        try:
            if group:
                await self._in_thread(self._log.append, group)
        except HivemindError:
            self._pending = self._shortened(group + self._pending)
            raise
        dead = self._log.rows - len(self._view)
        if dead > max(self._settings.waste, len(self._view)) and not self._pending:
            live = sorted(entry.sequence for entry in self._view.range("", "", None, False))
            await self._in_thread(self._log.compact, live)

    def _shortened(self, pending: list[Entry]) -> list[Entry]:
        if len(pending) <= self._settings.backlog:
            return pending
        newest = {entry.key: entry for entry in pending}
        return sorted(newest.values(), key=lambda entry: entry.sequence)

    async def close(self) -> None:
        """Raises `Unavailable`, closed all the same, when the last writes found no room. Twice is once."""
        if self._closed:
            return
        self._closed = True
        if self._timer:
            self._timer.cancel()
        try:
            await self.flush()
        finally:
            await self._in_thread(self._log.close)
            self._thread.shutdown()

    async def _in_thread(self, call: Callable[..., T], *arguments: object) -> T:
        return await self._loop.run_in_executor(self._thread, call, *arguments)
