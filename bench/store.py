"""The shared store with three writers: appends a second, and how long until the other two see one.

Three stores with files of their own in one process, over links in memory; so the three share one core, and the
network costs nothing. The figures beside them were measured of Autobase 7.28 with Hyperbee 2.27 on such a machine:
34 to 64 appends a second one at a time, 314 to 427 in batches of 50, seen remotely after 26 ms (median), each applied
2.3 to 3.3 times because of reordering.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.row import Row, at_least, at_most, within
from hivemind.security.identity import Identity
from hivemind.store.shared import SharedStore

WRITERS = 3
SINGLE = 900
"""Appends, one at a time, at a pace that leaves the loop idle in between."""
PACE = 0.005
BATCHES, BATCH = 200, 50
ANCHOR = "Autobase, measured before"


class _Links:
    def __init__(self, all: dict[str, _Links], node: str) -> None:
        self._all, self._node = all, node
        self._handler: Callable[[str, bytes], None] = lambda sender, message: None
        self._callbacks: list[Callable[[str, bool], None]] = []
        all[node] = self

    def begin(self) -> None:
        """Connects to those that began before."""
        for other in self._all.values():
            for callback in other._callbacks if other is not self else ():
                callback(self._node, True)

    @property
    def connected(self) -> frozenset[str]:
        return frozenset(self._all) - {self._node}

    def on_connection(self, callback: Callable[[str, bool], None]) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: None

    def send(self, to: str, service: str, message: bytes) -> bool:
        asyncio.get_running_loop().call_soon(self._all[to]._handler, self._node, message)
        return True

    def on_message(self, service: str, handler: Callable[[str, bytes], None]) -> Callable[[], None]:
        self._handler = handler
        return lambda: None


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000


async def _open(home: Path) -> list[SharedStore]:
    keys = [Identity(bytes([index + 1]) * 32) for index in range(WRITERS)]
    stores = [
        await SharedStore.open(home / f"{index}.db", key, hive="bench", clock=_milliseconds)
        for index, key in enumerate(keys)
    ]
    all: dict[str, _Links] = {}
    for store in stores:
        store.admit(key.public for key in keys)
        links = _Links(all, store.writer)
        store.connect(links)
        links.begin()
    return stores


async def _everywhere(stores: list[SharedStore], entries: int) -> None:
    news = asyncio.Event()
    undo = [store.subscribe("", lambda entries: news.set()) for store in stores]
    while any(len(store.snapshot()) < entries for store in stores):
        await news.wait()
        news.clear()
    for each in undo:
        each()


async def _measure(home: Path) -> list[Row]:
    stores = await _open(home)
    written: dict[str, float] = {}
    delays: list[float] = []
    applied = 0

    for store in stores:

        def heard(entries: object, writer: str = store.writer) -> None:
            nonlocal applied
            for entry in entries:  # type: ignore[attr-defined]
                applied += 1
                if entry.writer != writer:
                    delays.append(time.perf_counter() - written[entry.key])

        store.subscribe("", heard)

    begin = time.perf_counter()
    for index in range(SINGLE):
        key = f"single/{index:06d}"
        written[key] = time.perf_counter()
        stores[index % WRITERS].put(key, b"x" * 100)
        await asyncio.sleep(PACE)
    await _everywhere(stores, SINGLE)
    singles = SINGLE / (time.perf_counter() - begin)
    visible = statistics.median(delays) * 1000

    begin = time.perf_counter()
    for index in range(BATCHES):
        keys = [f"batch/{index:06d}/{place:02d}" for place in range(BATCH)]
        written |= dict.fromkeys(keys, time.perf_counter())
        stores[index % WRITERS].write(dict.fromkeys(keys, b"x" * 100))
        await asyncio.sleep(0)
    await _everywhere(stores, SINGLE + BATCHES * BATCH)
    batched = BATCHES * BATCH / (time.perf_counter() - begin)

    reapplied = applied / ((SINGLE + BATCHES * BATCH) * WRITERS)
    same = len({store.snapshot().digest() for store in stores}) == 1
    for store in stores:
        await store.close()
    return [
        at_least(
            "appends one at a time, 3 writers", round(singles), "op/s", f"{ANCHOR}: 64/s", round(singles / 64, 2), 1.6
        ),
        at_least(
            "appends in batches of 50, 3 writers", round(batched), "op/s", f"{ANCHOR}: 427/s",
            round(batched / 427, 2), 4.7,
        ),
        within("append seen by the others, median", round(visible, 1), "ms", f"{ANCHOR}: 26 ms", None, 26),
        at_most("times that an append is applied", round(reapplied, 2), "x", f"{ANCHOR}: 2.3", reapplied, 1.5),
        within("views that differ afterwards", 0 if same else 1, "", "none may", None, 0),
    ]  # fmt: skip


def run() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="hivemind-bench-") as home:
        return asyncio.run(_measure(Path(home)))
