"""Watching a prefix: a queue between the store's turn of the loop and a reader that takes its time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from hivemind.store.contract import Entry


class _Subscribable(Protocol):
    def subscribe(self, prefix: str, callback: Callable[[Iterable[Entry]], None]) -> Callable[[], None]: ...


class Watch:
    """An asynchronous iterator over every change under `prefix` from its construction on.

    Ends its subscription with `aclose`, or when nobody holds it any more."""

    def __init__(self, store: _Subscribable, prefix: str) -> None:
        queue: asyncio.Queue[Entry] = asyncio.Queue()

        def arrived(entries: Iterable[Entry]) -> None:  # holds the queue, not the watch
            for entry in entries:
                queue.put_nowait(entry)

        self._queue = queue
        self._undo = store.subscribe(prefix, arrived)

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> Entry:
        return await self._queue.get()

    async def aclose(self) -> None:
        self._undo()

    def __del__(self) -> None:
        self._undo()
