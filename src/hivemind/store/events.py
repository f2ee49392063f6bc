"""The event log: what happened on all nodes, in the store under `event/<id>`. Each node trims the oldest of its own.

An id begins with its writer's time and ends with its writer, so ids sort by time, then by writer. Events of other
nodes arrive late, also behind younger ones; so whoever follows is told in the order in which they arrived here.

What was agreed all nodes know. Such an event names no node, and its id is the batch's time, the batch and a number in
it: told by several nodes it is still one event.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Literal
from weakref import WeakKeyDictionary, ref

from hivemind.model.base import encode
from hivemind.model.event import Event
from hivemind.store.contract import Entry, Store
from hivemind.store.said import said

_PREFIX = "event/"
_COUNTERS = 1_000_000
_NAME = 8
"""Digits of its key that name a writer in an id."""


def agreed_id(time: int, sequence: int, index: int) -> str:
    """Of an event that follows from a batch. Never one of a node: the last part is shorter than theirs."""
    return f"{time:013d}-{sequence % _COUNTERS:06d}-{index:05d}"


def told(entry: Entry) -> Event | None:
    """None: it is gone, or no event: its key is its id, and neither that nor its type ends a line of a stream."""
    event = said(entry, Event)
    if event is None or entry.key != _PREFIX + event.id or not (event.id + event.type).isprintable():
        return None
    return event


class EventLog:
    """`node` is the name that the events carry; `clock` gives milliseconds since 1970. All nodes together keep about
    `limit` events, each the same share.

    Ids of a node only rise, even when the clock is set back and over restarts:
    `<13 digits ms>-<6 digits counter>-<8 digits of the node's key>`."""

    def __init__(self, store: Store, node: str, clock: Callable[[], int], limit: int = 10_000) -> None:
        self._store, self._node, self._clock, self._limit = store, node, clock, limit
        self._arrivals = arrivals(store)
        self._own = deque(entry.key for entry in store.range(_PREFIX) if entry.writer == store.writer)
        self._last = (0, 0)
        if self._own:
            milliseconds, counter = self._own[-1].removeprefix(_PREFIX).split("-")[:2]
            self._last = (int(milliseconds), int(counter))

    def append(
        self,
        type: str,
        message: str = "",
        *,
        level: Literal["info", "warning"] = "info",
        project: str = "",
        app: str = "",
        allocation: str = "",
        by: str = "",
        name: str = "",
    ) -> Event:
        now = self._clock()
        event = Event(
            id=self._next_id(now), time=now, type=type, level=level, project=project, app=app,
            allocation=allocation, node=self._node, by=by, message=message, name=name or app or self._node,
        )  # fmt: skip
        self._write((event,))
        return event

    def tell(self, events: Iterable[Event]) -> None:
        """Those of them that nobody has told yet; they bear their ids already."""
        self._write([event for event in events if event not in self])

    def __contains__(self, event: Event) -> bool:
        return self._store.get(_PREFIX + event.id) is not None

    def inherit(self, writer: str) -> None:
        """What a node that goes has told of what was agreed stays, when all that it wrote disappears."""
        if writer == self._store.writer:
            return
        found = (told(entry) for entry in self._store.range(_PREFIX) if entry.writer == writer)
        self._write([event for event in found if event and not event.node])

    def horizon(self) -> str:
        """Some node has trimmed its own up to this id; empty when none has had to. An older event that is not here
        may have been."""
        oldest: dict[str, str] = {}
        counts: dict[str, int] = {}
        for entry in self._store.range(_PREFIX):
            oldest.setdefault(entry.writer, entry.key.removeprefix(_PREFIX))
            counts[entry.writer] = counts.get(entry.writer, 0) + 1
        share = self._share()
        return max((oldest[writer] for writer, count in counts.items() if count >= share), default="")

    def _write(self, events: Sequence[Event]) -> None:
        if not events:
            return
        batch: dict[str, bytes | None] = {_PREFIX + event.id: encode(event) for event in events}
        self._own.extend(batch)
        share = self._share()
        while len(self._own) > share:
            key = self._own.popleft()
            if key in batch:
                del batch[key]
            elif (entry := self._store.get(key)) and entry.writer == self._store.writer:
                batch[key] = None
        self._store.write(batch)

    def _share(self) -> int:
        return max(1, self._limit // max(1, len(self._arrivals.writers | {self._store.writer})))

    def since(self, id: str = "") -> list[Event]:
        """Those after `id` that are still kept, by time; all without an id."""
        after = _PREFIX + id if id else ""
        return [event for entry in self._store.range(_PREFIX, after=after) if (event := told(entry))]

    async def follow(self, id: str = "") -> AsyncIterator[Event]:
        """Those that arrived after `id`, then every later one as it arrives. None is missed or told twice."""
        queue: asyncio.Queue[Entry] = asyncio.Queue()
        undo = self._arrivals.listen(queue.put_nowait)
        try:
            entries, _ = self._arrivals.after(id)
            while True:
                for entry in entries:
                    if event := told(entry):
                        yield event
                entries = [await queue.get()]
        finally:
            undo()

    def _next_id(self, now: int) -> str:
        milliseconds, counter = self._last
        if now > milliseconds:
            self._last = (now, 0)
        elif counter + 1 < _COUNTERS:
            self._last = (milliseconds, counter + 1)
        else:
            self._last = (milliseconds + 1, 0)
        return f"{self._last[0]:013d}-{self._last[1]:06d}-{self._store.writer[:_NAME]}"


class Arrivals:
    """In which order events came to this node. After a restart that is by time again. A position is a number that
    only grows."""

    def __init__(self, store: Store) -> None:
        self._keys = deque(entry.key for entry in store.range(_PREFIX))
        self._known = set(self._keys)
        self._gone = 0
        self.writers = {entry.writer for entry in store.range(_PREFIX)}
        """Who has events here."""
        self._store = ref(store)
        self._listeners: list[Callable[[Entry], None]] = []
        store.subscribe(_PREFIX, self._arrived)

    @property
    def end(self) -> int:
        return self._gone + len(self._keys)

    @property
    def last(self) -> str:
        """The id of the newest arrival; empty when there is none."""
        return self._keys[-1].removeprefix(_PREFIX) if self._keys else ""

    def listen(self, callback: Callable[[Entry], None]) -> Callable[[], None]:
        """Called with each event once, as it arrives; returns the undo."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback)

    def after(self, id: str) -> tuple[list[Entry], int]:
        """Those that arrived after that event, and the position to go on from. Of an event that is not kept here any
        more, or came to another node: those with greater ids."""
        if _PREFIX + id in self._known:
            return self.since(self._gone + self._keys.index(_PREFIX + id) + 1)
        found = [entry for key in self._keys if key > _PREFIX + id and (entry := self._get(key))]
        return found, self.end

    def since(self, position: int) -> tuple[list[Entry], int]:
        """Those that arrived from there on and are still kept, and the position to go on from."""
        new = max(0, min(len(self._keys), self.end - position))
        keys = [self._keys[-back] for back in range(new, 0, -1)]
        return [entry for key in keys if (entry := self._get(key))], self.end

    def _get(self, key: str) -> Entry | None:
        store = self._store()
        return store.get(key) if store is not None else None

    def _arrived(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.value is None:
                self._known.discard(entry.key)
            elif entry.key not in self._known:
                self._known.add(entry.key)
                self._keys.append(entry.key)
                self.writers.add(entry.writer)
                for listener in tuple(self._listeners):
                    listener(entry)
        while self._keys and self._keys[0] not in self._known:
            self._keys.popleft()
            self._gone += 1


_arrivals: WeakKeyDictionary[Store, Arrivals] = WeakKeyDictionary()


def arrivals(store: Store) -> Arrivals:
    """The one of that store: whoever follows, and comes again, finds the same order."""
    if store not in _arrivals:
        _arrivals[store] = Arrivals(store)
    return _arrivals[store]
