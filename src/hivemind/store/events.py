"""The event log: what happened on this node, in the store under `event/<id>`, the oldest trimmed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Literal

from hivemind.model.base import decode, encode
from hivemind.model.event import Event
from hivemind.store.contract import Store

_PREFIX = "event/"
_COUNTERS = 1_000_000


class EventLog:
    """`node` is the name that the events carry; `clock` gives milliseconds since 1970.

    Ids only rise, even when the clock is set back and over restarts: `<13 digits ms>-<6 digits counter>`."""

    def __init__(self, store: Store, node: str, clock: Callable[[], int], limit: int = 10_000) -> None:
        self._store, self._node, self._clock, self._limit = store, node, clock, limit
        self._count = sum(1 for _ in store.range(_PREFIX))
        self._last = (0, 0)
        for entry in store.range(_PREFIX, reverse=True, limit=1):
            milliseconds, counter = entry.key.removeprefix(_PREFIX).split("-")
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
        batch: dict[str, bytes | None] = {_PREFIX + event.id: encode(event)}
        excess = self._count + 1 - self._limit
        if excess > 0:
            batch |= {entry.key: None for entry in self._store.range(_PREFIX, limit=excess)}
        self._store.write(batch)
        self._count += 2 - len(batch)
        return event

    def since(self, id: str = "") -> list[Event]:
        """Those after `id` that are still kept, oldest first; all without an id."""
        after = _PREFIX + id if id else ""
        return [
            decode(entry.value, Event) for entry in self._store.range(_PREFIX, after=after) if entry.value
        ]

    async def follow(self, id: str = "") -> AsyncIterator[Event]:
        """Those after `id`, then every later one as it happens. None is missed or told twice."""
        watch = self._store.watch(_PREFIX)
        last = id
        for event in self.since(id):
            last = event.id
            yield event
        async for entry in watch:
            if entry.value is not None and entry.key > _PREFIX + last:
                last = entry.key.removeprefix(_PREFIX)
                yield decode(entry.value, Event)

    def _next_id(self, now: int) -> str:
        milliseconds, counter = self._last
        if now > milliseconds:
            self._last = (now, 0)
        elif counter + 1 < _COUNTERS:
            self._last = (milliseconds, counter + 1)
        else:
            self._last = (milliseconds + 1, 0)
        return f"{self._last[0]:013d}-{self._last[1]:06d}"
