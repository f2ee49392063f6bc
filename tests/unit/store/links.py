"""Stores of several nodes in one loop, over links that deliver in a later turn of it, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from hivemind.security.identity import Identity
from hivemind.store.shared import Settings, SharedStore

HIVE = "hive"
FAST = Settings(delay=0.005, repair=0.05, retry=0.05)
START = 1_700_000_000_000


class Wires:
    def __init__(self) -> None:
        self.ends: dict[str, FakeLinks] = {}
        self.cut: set[frozenset[str]] = set()
        self.sent = 0

    def linked(self, one: str, other: str) -> bool:
        return other in self.ends and one in self.ends and frozenset((one, other)) not in self.cut

    def part(self, one: str, other: str) -> None:
        self.cut.add(frozenset((one, other)))
        self._tell(one, other, False)

    def heal(self) -> None:
        cut, self.cut = self.cut, set()
        for pair in cut:
            one, other = sorted(pair)
            self._tell(one, other, True)

    def _tell(self, one: str, other: str, up: bool) -> None:
        for end, peer in ((one, other), (other, one)):
            if end in self.ends and peer in self.ends:
                for callback in tuple(self.ends[end].callbacks):
                    callback(peer, up)

    def add(self, node: str) -> FakeLinks:
        links = self.ends[node] = FakeLinks(self, node)
        for other in sorted(self.ends.keys() - {node}):
            for callback in tuple(self.ends[other].callbacks):
                callback(node, True)
        return links

    def drop(self, node: str) -> None:
        del self.ends[node]
        for end in self.ends.values():
            for callback in tuple(end.callbacks):
                callback(node, False)


class FakeLinks:
    def __init__(self, wires: Wires, node: str) -> None:
        self.wires, self.node = wires, node
        self.callbacks: list[Callable[[str, bool], None]] = []
        self.handlers: dict[str, Callable[[str, bytes], None]] = {}

    @property
    def connected(self) -> frozenset[str]:
        return frozenset(
            other for other in self.wires.ends if other != self.node and self.wires.linked(self.node, other)
        )

    def on_connection(self, callback: Callable[[str, bool], None]) -> Callable[[], None]:
        self.callbacks.append(callback)
        return lambda: self.callbacks.remove(callback)

    def on_message(self, service: str, handler: Callable[[str, bytes], None]) -> Callable[[], None]:
        assert service not in self.handlers
        self.handlers[service] = handler
        return lambda: self.handlers.pop(service) and None

    def send(self, to: str, service: str, message: bytes) -> bool:
        if not self.wires.linked(self.node, to):
            return False
        self.wires.sent += 1
        asyncio.get_running_loop().call_soon(self._arrive, to, service, message)
        return True

    def _arrive(self, to: str, service: str, message: bytes) -> None:
        if self.wires.linked(self.node, to) and service in self.wires.ends[to].handlers:
            self.wires.ends[to].handlers[service](self.node, message)


def key(index: int) -> Identity:
    return Identity(bytes([index]) * 32)


class Group:
    """Stores that belong to one hive."""

    def __init__(self, home: Path, settings: Settings = FAST) -> None:
        self.home, self.settings, self.wires = home, settings, Wires()
        self.stores: list[SharedStore] = []
        self.now = START

    async def open(self, index: int) -> SharedStore:
        return await SharedStore.open(
            self.home / f"{index}.db", key(index), hive=HIVE, clock=lambda: self.now, settings=self.settings
        )

    async def start(self, size: int) -> list[SharedStore]:
        self.stores = [await self.open(index) for index in range(size)]
        for store in self.stores:
            self.join(store)
        return self.stores

    def join(self, store: SharedStore) -> None:
        store.admit(key(index).public for index in range(len(self.stores)))
        store.connect(self.wires.add(store.writer))

    async def leave(self, store: SharedStore) -> None:
        self.wires.drop(store.writer)
        await store.close()

    async def close(self) -> None:
        for store in self.stores:
            await store.close()

    async def agree(self, stores: list[SharedStore] | None = None) -> dict[str, bytes | None]:
        """Once all show the same; what."""
        chosen = self.stores if stores is None else stores
        async with asyncio.timeout(20):
            while len({store.snapshot().digest() for store in chosen}) > 1 or any(
                store._replica.unsigned for store in chosen
            ):
                await changed(chosen)
        return {entry.key: entry.value for entry in chosen[0].range("")}


async def changed(stores: list[SharedStore]) -> None:
    """One of them shows something else, or a moment is over in which nothing did."""
    bell = asyncio.Event()
    undo = [store.subscribe("", lambda entries: bell.set()) for store in stores]
    try:
        async with asyncio.timeout(0.02):
            await bell.wait()
    except TimeoutError:
        pass
    finally:
        for each in undo:
            each()
