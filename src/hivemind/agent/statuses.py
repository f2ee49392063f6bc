"""What this node says of its allocations, in the shared store: names, published ports and people go by it.

Any node of the hive may write any key there. The others take no word of an allocation but its own node's; and where
another one has written over that, it is said again, so that whoever starts only now hears it, too."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from hivemind.agent.endpoints import status_key
from hivemind.model.allocation import AllocationStatus
from hivemind.model.base import encode
from hivemind.store.contract import Entry, Store

_AGAIN = 1.0
"""Seconds until what was written over is said again: whoever goes on and on makes this node write no faster."""


class Statuses:
    def __init__(self, node: str, store: Store) -> None:
        self._node, self._store = node, store
        self._said: dict[str, bytes] = {}
        """By key."""
        self._over: set[str] = set()
        """Keys that another node has written since."""
        self._timer: asyncio.TimerHandle | None = None

    def open(self, allocations: Iterable[str]) -> None:
        """What was said of these still counts; of others nothing does."""
        known = {status_key(allocation) for allocation in allocations}
        for entry in list(self._store.range(status_key(""))):
            if entry.writer != self._node:
                continue
            if entry.key in known and entry.value is not None:
                self._said[entry.key] = entry.value
            else:
                self._store.delete(entry.key)

    def put(self, allocation: str, status: AllocationStatus) -> None:
        key = status_key(allocation)
        self._said[key] = encode(status)
        self._store.put(key, self._said[key])

    def forget(self, allocation: str) -> None:
        key = status_key(allocation)
        self._said.pop(key, None)
        self._store.delete(key)

    def noticed(self, entries: Iterable[Entry]) -> None:
        """To be called with all that is written."""
        self._over |= {e.key for e in entries if e.writer != self._node and e.key in self._said}
        if self._over and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_AGAIN, self._repeat)

    def close(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _repeat(self) -> None:
        self._timer = None
        over, self._over = self._over, set()
        for key in sorted(over & self._said.keys()):
            shown = self._store.get(key)
            if shown is None or shown.writer != self._node:
                self._store.put(key, self._said[key])
