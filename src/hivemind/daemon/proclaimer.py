"""Tells everyone what was agreed, once, though every node knows it.

The id of such an event follows from its batch, and so does all that it says: whoever tells it, it is one event in the
store. One node tells each batch, by turns; the others look a little later whether it is there, and tell what is not:
no event is lost with its teller, and none is told twice.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple

from msgspec.structs import replace

from hivemind.ledger.contract import Batch
from hivemind.model.event import Event
from hivemind.state.state import State
from hivemind.store.events import EventLog, agreed_id

_FRESH = 10_000
"""Milliseconds after which a batch is old news: others may have told it, and trimmed it already."""
_TURNS = 3
"""From the so-manieth turn on all look at the same time."""
_MOST = 10_000
"""Batches that are waited for."""


class _Told(NamedTuple):
    due: float
    events: tuple[Event, ...]


class Proclaimer:
    """Heralds `append` while they hear of a batch; `agreed` is to be called behind them. `clock` gives milliseconds
    since 1970; `patience` is in seconds, for each turn."""

    def __init__(
        self, node: str, state: State, events: EventLog, clock: Callable[[], int], patience: float = 2.0
    ) -> None:
        self._node, self._state, self._events, self._clock = node, state, events, clock
        self._patience = patience
        self._said: list[Event] = []
        self._waiting: deque[_Told] = deque(maxlen=_MOST)
        self._timer: asyncio.TimerHandle | None = None
        self._next = (state.hive, state.sequence + 1)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

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
    ) -> None:
        """`EventLog.append`, but for the id, the time and the node: these are the batch's, and no node's."""
        said = Event(
            id="", time=0, type=type, level=level, project=project, app=app, allocation=allocation, by=by,
            message=message, name=name or app,
        )  # fmt: skip
        self._said.append(said)

    def agreed(self, batch: Batch) -> None:
        said, self._said = self._said, []
        (hive, expected), self._next = self._next, (self._state.hive, batch.sequence + 1)
        if hive != self._state.hive:
            return
        for change in self._state.changes:
            if change.table == "nodes" and change.new is None:
                self._events.inherit(change.key)
        if expected != batch.sequence or not said:
            return  # a state that was taken over whole: what led to it, others tell
        events = tuple(_dated(event, batch, index) for index, event in enumerate(said))
        turn = self._turn(batch.sequence)
        if not turn and self._clock() - batch.time < _FRESH:
            self._events.tell(events)
        else:
            delay = self._patience * max(1, min(turn, _TURNS))
            self._waiting.append(_Told(asyncio.get_running_loop().time() + delay, events))
            self._wait()

    def _turn(self, sequence: int) -> int:
        """0: this node tells it; 1: it looks after the one that does, and so on."""
        tellers = sorted(id for id, node in self._state.nodes.items() if not node.lost and not node.expected)
        if self._node not in tellers:
            return len(tellers)
        return (tellers.index(self._node) - sequence) % len(tellers)

    def _wait(self) -> None:
        if self._timer is None and self._waiting:
            self._timer = asyncio.get_running_loop().call_later(self._patience, self._look)

    def _look(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        due = [told for told in self._waiting if told.due <= now]
        self._waiting = deque((told for told in self._waiting if told.due > now), maxlen=_MOST)
        missing = [event for told in due for event in told.events if event not in self._events]
        if missing:
            horizon = self._events.horizon()
            self._events.tell(event for event in missing if event.id > horizon)
        self._wait()


def _dated(event: Event, batch: Batch, index: int) -> Event:
    return replace(event, id=agreed_id(batch.time, batch.sequence, index), time=batch.time)
