"""The shared store of one node: every writer's log in one file, and the sorted view over them.

Drives the machine of `protocols.autobee`. Writes change the view at once, in the caller's turn of the loop. What
came together is signed as one group, at the latest after `delay`, and made durable in a thread of its own; only then
do others hear of it. A node alone does the same without the others, so nothing changes when the second one comes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from hivemind.errors import HivemindError, Invalid, NotFound, Unavailable
from hivemind.protocols.autobee import steps, wire
from hivemind.protocols.autobee.attesting import Attested, Certified
from hivemind.protocols.autobee.entry import LARGEST_VALUE, LONGEST_KEY
from hivemind.protocols.autobee.replica import Replica
from hivemind.protocols.autobee.serving import answer
from hivemind.protocols.autobee.view import Difference, Proof, View
from hivemind.protocols.machine import Received, Send, Tick
from hivemind.security.identity import Identity, verify
from hivemind.store.contract import Entry
from hivemind.store.links import SERVICE, Links
from hivemind.store.logs import DiskEffect, Logs
from hivemind.store.notices import Callback, Notices
from hivemind.store.watch import Watch

_logger = logging.getLogger(__name__)
T = TypeVar("T")
_VERSIONS = 32
_MICROS = 1_000_000


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    delay: float = 0.025
    """Seconds between two groups of writes that are flushed; the first write after a pause does not wait."""
    repair: float = 1.0
    """Seconds between two comparisons with other nodes."""
    retry: float = 1.0
    """Seconds between attempts while the disk refuses."""
    waste: int = 1000
    """Superseded entries that may lie in a log before it is compacted, at least; more if more is alive."""
    backlog: int = 10_000
    """Unwritten entries beyond which only the newest of each key are kept for the disk."""
    queue: int = 10_000
    """What may wait for the disk before nothing more is taken from other nodes."""


class SharedStore:
    """Open one with `await SharedStore.open(...)`; `close` flushes."""

    @classmethod
    async def open(
        cls,
        path: Path,
        identity: Identity,
        *,
        hive: str = "",
        clock: Callable[[], int],
        settings: Settings | None = None,
        outsiders: Callable[[Entry], bool] | None = None,
    ) -> SharedStore:
        """`hive`: its id; what was signed for another one is signed again. `clock` gives milliseconds since 1970.
        `outsiders`: judges entries of nodes outside the hive that prove themselves; None: there are none. Raises
        `Corrupt` when more than the tail is damaged."""
        loop = asyncio.get_running_loop()
        thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        try:
            logs = await loop.run_in_executor(thread, Logs, path, identity, hive)
            store = cls(logs, identity, clock, settings or Settings(), thread, loop, outsiders)
            await store._begin(hive)
        except BaseException:
            thread.shutdown()
            raise
        return store

    def __init__(
        self,
        logs: Logs,
        identity: Identity,
        clock: Callable[[], int],
        settings: Settings,
        thread: ThreadPoolExecutor,
        loop: asyncio.AbstractEventLoop,
        outsiders: Callable[[Entry], bool] | None = None,
    ) -> None:
        self.writer = identity.public
        self._logs, self._clock, self._settings, self._thread, self._loop = (
            logs,
            clock,
            settings,
            thread,
            loop,
        )
        self._replica = Replica(
            hive=logs.hive,
            signer=identity,
            verify=verify,
            wall=lambda now: clock(),
            settings=steps.Settings(
                delay=int(settings.delay * _MICROS),
                repair=int(settings.repair * _MICROS),
                backlog=settings.backlog,
            ),
            restored=logs.restored,
            outsiders=outsiders,
        )
        logs.restored = []
        self._links: Links | None = None
        self._undo: list[Callable[[], None]] = []
        self._queue: deque[Any] = deque()
        self._pumping: asyncio.Task[None] | None = None
        self._failure: HivemindError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._notices = Notices()
        self._accusers: list[Callable[[str, bytes], None]] = []
        self._version = 0
        self._versions: deque[View] = deque(maxlen=_VERSIONS)
        self._tried: dict[str, int] = {}
        self._closed = False

    async def _begin(self, hive: str) -> None:
        if self._logs.old_format:
            inherited = tuple((entry.key, entry.value) for entry in self._logs.inherited)
            effects = self._replica.handle(steps.Write(inherited, self._clock()), self._now())
            effects += self._replica.handle(steps.Flush(), self._now())
            kept = [effect for effect in effects if isinstance(effect, DiskEffect)]
            await self._in_thread(self._logs.convert, kept)
            if kept:
                self._replica.handle(steps.Stored(), self._now())
        elif self._logs.lost or (hive and hive != self._logs.hive):
            await self.enter(hive or self._logs.hive)

    # -- reading ---------------------------------------------------------------------------------------------

    def get(self, key: str) -> Entry | None:
        return self._replica.order.view.get(key)

    def range(
        self, prefix: str, *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        if not after:
            return self.snapshot().range(prefix, reverse=reverse, limit=limit)
        if reverse:
            return self.snapshot().range(prefix, lt=after, reverse=True, limit=limit)
        return self.snapshot().range(prefix, gt=after, limit=limit)

    def subscribe(self, prefix: str, callback: Callback) -> Callable[[], None]:
        return self._notices.subscribe(prefix, callback)

    def watch(self, prefix: str) -> AsyncIterator[Entry]:
        return Watch(self, prefix)

    # -- versions --------------------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Of the view on this node; every change makes another one."""
        return self._version

    def snapshot(self) -> View:
        """The view as it is now, for as long as somebody holds it: with all bounds of ranges, digest and proofs."""
        return self._replica.order.view

    def checkout(self, version: int) -> View:
        """The view as it was; the last 32 versions are kept. Raises `NotFound`."""
        if version == self._version:
            return self.snapshot()
        back = self._version - version
        if not 0 < back <= len(self._versions):
            raise NotFound(
                f"version {version} of the store is not kept",
                hint="hold a snapshot for as long as you need it",
            )
        return self._versions[-back]

    def diff(self, version: int) -> Iterator[Difference]:
        """What has changed since that version, in the order of keys. Raises `NotFound`."""
        return self.snapshot().diff(self.checkout(version))

    def prove(self, key: str) -> tuple[Entry, Proof, bytes]:
        """An entry, and the proof that it is in the view with that digest (`view.proven`). Raises `NotFound`."""
        view = self.snapshot()
        entry, proof = view.get(key), view.prove(key)
        if entry is None or proof is None:
            raise NotFound(f"there is no {key} in the store", hint="list what there is by its prefix")
        return entry, proof, view.digest()

    async def at(self, writer: str, sequence: int) -> Entry:
        """An entry by its place, superseded or not. Raises `NotFound` when it was cleared, or never there."""
        await self.flush()
        entry = await self._in_thread(self._logs.entry, writer, sequence)
        if entry is None:
            raise NotFound(
                f"entry {sequence} of {writer[:8]} is not kept", hint="superseded entries are cleared in time"
            )
        return entry

    async def history(self, prefix: str = "", *, limit: int = 1000, reverse: bool = False) -> list[Entry]:
        """What was written under `prefix`, deletions and what was superseded, too, as far as it is not cleared; in
        the order that counts."""
        await self.flush()
        return await self._in_thread(self._logs.history, prefix, limit, reverse)

    # -- writing ---------------------------------------------------------------------------------------------

    def put(self, key: str, value: bytes) -> None:
        self.write({key: value})

    def delete(self, key: str) -> None:
        self.write({key: None})

    def write(self, batch: Mapping[str, bytes | None]) -> None:
        """Raises `Invalid` for a bad key, before anything is changed. Deleting what is not there does nothing."""
        if self._closed:
            raise Unavailable("the store is closed", hint="try again once the node is back")
        for key, value in batch.items():
            if not key or len(key) > LONGEST_KEY:
                raise Invalid(f"a key has 1 to {LONGEST_KEY} characters, not {len(key)}")
            if value is not None and len(value) > LARGEST_VALUE:
                raise Invalid(f"a value has at most {LARGEST_VALUE} bytes, not {len(value)}")
            if any("\ud800" <= letter <= "\udfff" for letter in key):
                raise Invalid("a key is text")
        self._handle(steps.Write(tuple(batch.items()), self._clock()))

    def compare_and_write(
        self, expected: Mapping[str, Entry | None], batch: Mapping[str, bytes | None]
    ) -> bool:
        """Writes if the view shows exactly the entries `expected` for their keys (None: no such key), and says
        whether it did. That compares with what this node sees now: two nodes that have not heard of each other may
        both succeed, and then the same one's entries count everywhere. What must not happen twice belongs in the
        ledger."""
        if any(self.get(key) != entry for key, entry in expected.items()):
            return False
        self.write(batch)
        return True

    # -- the hive --------------------------------------------------------------------------------------------

    def connect(self, links: Links) -> None:
        """From now on with others, those that are connected and those that will be."""
        self.disconnect()
        self._links = links
        self._undo = [links.on_message(SERVICE, self._received), links.on_connection(self._linked)]
        for peer in sorted(links.connected):
            self._linked(peer, True)

    def disconnect(self) -> None:
        for undo in self._undo:
            undo()
        for peer in self._replica.peers:
            self._handle(steps.Linked(peer, False))
        self._links, self._undo = None, []

    def admit(self, writers: Iterable[str]) -> None:
        """All nodes of the hive, as the ledger says. What others had written is gone from the view."""
        self._handle(steps.Admit(tuple(sorted({*writers, self.writer}))))

    @property
    def writers(self) -> tuple[str, ...]:
        return self._replica.writers

    async def enter(self, hive: str) -> None:
        """From now on everything is signed for that hive; what this node wrote goes along, what others wrote
        does not."""
        await self.flush()
        effects = self._replica.handle(steps.Enter(hive), self._now())
        self._queue.append(hive)
        self._do(effects)
        await self.flush()

    def attest(self) -> tuple[Attested, ...]:
        """What this node has of all logs, see `Certifier`."""
        return self._replica.attest()

    def certify(self, logs: Sequence[Certified]) -> None:
        """What a quorum of the hive has. From now on only superseded entries up to there are cleared."""
        self._handle(steps.Certify(tuple(logs)))

    def on_convict(self, callback: Callable[[str, bytes], None]) -> Callable[[], None]:
        """`callback(writer, evidence)` for each writer that lied, those already known at once; returns the undo.
        It may be this node itself, by what others prove."""
        self._accusers.append(callback)
        for writer, evidence in self._replica.convicts().items():
            callback(writer, evidence)
        return lambda: self._accusers.remove(callback) if callback in self._accusers else None

    @property
    def refused(self) -> Mapping[str, int]:
        """How often something from other nodes was refused, by why."""
        return self._replica.counters

    def lag(self) -> int:
        """How many entries others have signed, as far as this node knows, that are not in its view."""
        return self._replica.lag()

    def _received(self, sender: str, message: bytes) -> None:
        if self._closed:
            return
        if len(self._queue) > self._settings.queue:
            self._replica.counters["disk too slow"] += 1
            return
        self._handle(Received(sender, message))

    def _linked(self, peer: str, up: bool) -> None:
        if not self._closed:
            self._handle(steps.Linked(peer, up))

    # -- driving the machine ---------------------------------------------------------------------------------

    def _now(self) -> int:
        return int(self._loop.time() * _MICROS)

    def _handle(self, event: Any) -> None:
        before = self._replica.order.view
        effects = self._replica.handle(event, self._now())
        if self._replica.order.view is not before:
            self._versions.append(before)
            self._version += 1
        self._do(effects)

    def _do(self, effects: Sequence[Any]) -> None:
        heard: list[Entry] = []
        for effect in effects:
            if isinstance(effect, steps.Changed):
                heard += effect.entries
            elif isinstance(effect, steps.Exposed):
                self._convict(self.writer, effect.evidence)
            elif isinstance(effect, Send) and not self._queue and self._pumping is None:
                self._send(effect)
            else:
                self._queue.append(effect)
        self._schedule()
        if self._queue and self._retry is None:
            self._pump()
        if heard:
            self._notices.tell(heard)

    def _send(self, effect: Send) -> None:
        if self._links is not None:
            self._links.send(effect.to, SERVICE, effect.message)

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._replica.deadline()
        if deadline is not None and not self._closed:
            self._timer = self._loop.call_at(deadline / _MICROS, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._handle(Tick())

    # -- the disk --------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._pumping is None:
            self._pumping = self._loop.create_task(self._pump_all())

    async def _pump_all(self) -> None:
        self._failure = None
        try:
            while self._queue:
                await self._pump_some()
            await self._compact()
        except HivemindError as error:
            self._failure = error
            _logger.warning("%s", error.message)
            if not self._closed:
                self._retry = self._loop.call_later(self._settings.retry, self._pump)
        finally:
            self._pumping = None
        if self._queue and self._failure is None and not self._closed:
            self._pump()

    async def _pump_some(self) -> None:
        """Everything that waits: first what is to be kept, as one transaction, then what is to be sent."""
        taken = list(self._queue)
        kept = [effect for effect in taken if isinstance(effect, DiskEffect)]
        hive = next((effect for effect in reversed(taken) if isinstance(effect, str)), "")
        if kept or hive:
            await self._in_thread(self._logs.write, kept, hive)
        for _ in taken:
            self._queue.popleft()
        for effect in taken:
            match effect:
                case Send():
                    self._send(effect)
                case steps.Serve():
                    await self._serve(effect)
                case steps.Store() if effect.writer == self.writer:
                    self._handle(steps.Stored())
                case steps.Convict():
                    self._convict(effect.writer, effect.evidence)

    def _convict(self, writer: str, evidence: bytes) -> None:
        for callback in tuple(self._accusers):
            callback(writer, evidence)

    async def _serve(self, ask: steps.Serve) -> None:
        def read() -> bytes:
            kept = self._logs.kept(ask.writer)
            chunk = answer(kept, ask) if kept is not None else None
            return wire.encode(chunk) if chunk is not None else b""

        message = await self._in_thread(read)
        if message and self._links is not None:
            self._links.send(ask.to, SERVICE, message)

    async def _compact(self) -> None:
        for writer in self._replica.writers:
            bodies, living = self._logs.bodies[writer], self._replica.living(writer)
            waste = max(self._settings.waste, living)
            if bodies - max(living, self._tried.get(writer, 0)) <= waste:
                continue
            upto, keep = self._replica.clearable(writer, whole=bodies > living + 10 * waste)
            size = await self._in_thread(self._logs.clear, writer, upto, keep)
            self._tried[writer] = self._logs.bodies[writer]
            self._handle(steps.Cleared(writer, size))

    async def flush(self) -> None:
        """Everything written so far is in the log. Raises `Unavailable` when the disk refuses; it is kept."""
        while True:
            if self._pumping is None:
                self._do(self._replica.handle(steps.Flush(), self._now()))
                if not self._queue:
                    return
                self._pump()
            if self._pumping is not None:
                await asyncio.shield(self._pumping)
            if self._failure is not None:
                raise self._failure

    async def close(self) -> None:
        """Raises `Unavailable`, closed all the same, when the last writes found no room. Twice is once."""
        if self._closed:
            return
        self._closed = True
        self.disconnect()
        try:
            await self.flush()
        finally:
            for timer in (self._timer, self._retry):
                if timer is not None:
                    timer.cancel()
            await self._in_thread(self._logs.close)
            self._thread.shutdown()

    async def _in_thread(self, call: Callable[..., T], *arguments: object) -> T:
        return await self._loop.run_in_executor(self._thread, call, *arguments)
