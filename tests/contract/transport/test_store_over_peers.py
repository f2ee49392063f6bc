"""The shared store over each kind of connections: in memory, and over real TCP on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from hivemind.security.identity import Identity
from hivemind.store.shared import Settings, SharedStore
from hivemind.transport.fake import FakeNetwork
from hivemind.transport.peers import TcpPeers

pytestmark = pytest.mark.anyio
KEYS = [Identity(bytes([number]) * 32) for number in range(41, 44)]
QUICK = Settings(delay=0.005, repair=0.1, retry=0.1)
START = 1_700_000_000_000


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class Hive:
    """Three stores, and what connects them."""

    def __init__(self, home: Path, kind: str) -> None:
        self.home, self.kind = home, kind
        self.network = FakeNetwork()
        self.peers: list[Any] = []
        self.stores: list[SharedStore] = []

    async def start(self) -> None:
        self.peers = [await self._peers(number) for number in range(3)]
        self._meet()
        for number in range(3):
            self.stores.append(await self._store(number))

    async def _peers(self, number: int) -> Any:
        if self.kind == "memory":
            return self.network.peers(KEYS[number].public)
        members = {key.public for key in KEYS}
        made = TcpPeers(KEYS[number], members.__contains__, hive="hive", secret=bytes(32))
        await made.start("127.0.0.1", 0)
        return made

    def _meet(self) -> None:
        """Whoever says a word to another dials it; the store itself only talks to those that are connected."""
        for one in self.peers:
            for other in self.peers:
                if one is not other:
                    one.learn(other.node, [other.address])
        for one in self.peers:
            for other in self.peers:
                if one is not other:
                    one.send(other.node, "bell", b"")

    async def _store(self, number: int) -> SharedStore:
        store = await SharedStore.open(
            self.home / f"{number}.db", KEYS[number], hive="hive", clock=lambda: START, settings=QUICK
        )
        store.admit(key.public for key in KEYS)
        store.connect(self.peers[number])
        return store

    async def restart(self, number: int) -> None:
        """The node goes away with its connections, and comes back elsewhere."""
        self.peers[number] = await self._peers(number)
        self._meet()
        self.stores[number] = await self._store(number)

    async def stop(self, number: int) -> None:
        await self.stores[number].close()
        await self.peers[number].close()

    async def agree(self, count: int) -> list[dict[str, bytes | None]]:
        await until(
            lambda: (
                len({store.snapshot().digest() for store in self.stores}) == 1
                and len(self.stores[0].snapshot()) == count
            )
        )
        return [{entry.key: entry.value for entry in store.range("")} for store in self.stores]


@pytest.fixture(params=["memory", "tcp"])
async def hive(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Hive]:
    made = Hive(tmp_path, request.param)
    await made.start()
    yield made
    for number in range(3):
        await made.stop(number)


async def test_all_see_what_each_wrote(hive: Hive) -> None:
    for number, store in enumerate(hive.stores):
        store.write({f"node/{number}": b"x", "shared": b"%d" % number})
    found = await hive.agree(4)
    hive.stores[1].write({"shared": b"last", "node/0": None})
    [one, *_] = await hive.agree(3)
    assert one == {"node/1": b"x", "node/2": b"x", "shared": b"last"}
    assert {each["shared"] for each in found} <= {b"0", b"1", b"2"}


async def test_a_long_log_comes_in_parts_to_who_was_away(hive: Hive) -> None:
    await hive.agree(0)
    await hive.stop(2)
    for part in range(4):
        hive.stores[0].write({f"{part}/{number:03d}": b"v" * 2_000 for number in range(250)})
        await hive.stores[0].flush()
    await hive.restart(2)
    await hive.agree(1000)
    assert not any(store.refused.get("malformed") for store in hive.stores)


async def test_who_left_and_came_back_elsewhere_goes_on(hive: Hive) -> None:
    hive.stores[2].put("mine", b"1")
    await hive.agree(1)
    await hive.stop(2)
    hive.stores[0].put("theirs", b"2")
    await hive.restart(2)
    hive.stores[2].put("mine", b"3")
    [one, *_] = await hive.agree(2)
    assert one["theirs"] == b"2"
    await until(lambda: [store.snapshot().get("mine").value for store in hive.stores] == [b"3"] * 3)  # type: ignore[union-attr]
