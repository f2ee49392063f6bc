"""Discovery over real datagrams: processes that begin at once, nodes that moved, values, the file of addresses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from bench import discovery

from hivemind.errors import Unavailable
from hivemind.protocols.kademlia.events import Translation
from hivemind.protocols.kademlia.ids import topic
from hivemind.security.identity import Identity, verify
from hivemind.transport.contract import Address
from hivemind.transport.datagrams import UdpDatagrams
from hivemind.transport.discovery import cache
from hivemind.transport.discovery.dht import Dht
from hivemind.transport.discovery.discovery import Discovery
from hivemind.transport.discovery.seeds import Seeds

pytestmark = pytest.mark.anyio
SECRET = b"s" * 32


class Place:
    """A node's datagrams, and its discovery."""

    def __init__(self, number: int, path: Path, known: list[Address]) -> None:
        self.identity = Identity(number.to_bytes(32, "big"))
        self.datagrams = UdpDatagrams(self.identity)
        self.datagrams.enter("hive", SECRET)
        self.found: dict[str, tuple[Address, ...]] = {}
        self._news = asyncio.Event()
        self._path, self._known = path / f"{number}.json", known

    async def start(self) -> Place:
        await self.datagrams.start("127.0.0.1", 0)
        own = self.datagrams.address
        self.discovery = Discovery(
            lambda outside: Dht(
                self.datagrams,
                self.identity,
                verify,
                hive="hive",
                own=own,
                admits=lambda node: True,
                outside=outside,
            ),
            lambda dht: [Seeds(self._known), cache.Cache(self._path, dht.contacts)],
            name="office",
            secret=SECRET,
            addresses=[own],
            found=self._heard,
        )
        await self.discovery.start()
        return self

    def _heard(self, node: str, addresses: tuple[Address, ...]) -> None:
        self.found[node] = addresses
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def close(self, *, leaving: bool = False) -> None:
        await self.discovery.close(leaving=leaving)
        self.datagrams.close()


Make = Callable[..., Awaitable[Place]]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    made: list[Place] = []

    async def start(number: int, *known: Place) -> Place:
        place = Place(number, tmp_path, [each.datagrams.address for each in known])
        made.append(place)
        return await place.start()

    yield start
    for place in made:
        await place.close()


@pytest.mark.parametrize("seeds", [discovery.same, discovery.chain])
def test_processes_that_begin_at_the_same_moment_find_each_other(seeds: discovery.Seeds) -> None:
    """How long that takes, `bench` says."""
    seconds, spent = discovery.meet(6, seeds)
    assert seconds > 0 and len(spent) == 6 and all(spent)


async def test_a_node_finds_its_hive_again_though_all_addresses_but_one_have_changed(make: Make) -> None:
    first, second = await make(1), await make(2)
    third = await make(3, first)
    fourth = await make(4, first, second)
    await second.until(lambda: True)
    await third.until(lambda: len(third.found) == 3)
    await fourth.until(lambda: len(fourth.found) == 3)
    for place in (third, fourth, second):
        await place.close()
    second, fourth = await make(2, first), await make(4, first)
    third = await make(3)  # it has only the file, in which one address is still good
    here = {place.identity.public: (place.datagrams.address,) for place in (second, fourth)}
    await third.until(lambda: here.items() <= third.found.items())


async def test_who_leaves_is_not_found_and_who_only_looks_is_neither(make: Make) -> None:
    first = await make(1)
    second, third = await make(2, first), await make(3, first)
    await second.until(lambda: len(second.found) == 2)
    await third.until(lambda: len(third.found) == 2)
    await second.close(leaving=True)
    key = topic("office", SECRET)
    found = await first.discovery.dht.look(key, 5)
    assert found.keys() == {third.identity.public}
    assert not await first.discovery.dht.look(topic("another", SECRET), 0.5)


async def test_values_are_kept_by_others(make: Make) -> None:
    first = await make(1)
    second = await make(2, first)
    await second.until(lambda: len(second.found) == 1)
    dht = first.discovery.dht
    key = await dht.put(b"bread", 5)
    got = await second.discovery.dht.get(key, 5)
    assert got and got.value == b"bread"
    mine = await dht.put_mutable(b"one", 1, 5)
    await dht.put_mutable(b"two", 2, 5)
    with pytest.raises(Unavailable, match="sequence too low"):
        await dht.put_mutable(b"old", 1, 5)
    got = await second.discovery.dht.get(mine, 5)
    assert got and (got.value, got.sequence, got.signer) == (b"two", 2, first.identity.public)


async def test_on_open_ground_a_node_is_where_it_says(make: Make) -> None:
    first = await make(1)
    second = await make(2, first)
    await second.until(lambda: len(second.found) == 1)
    for place in (first, second):
        assert place.discovery.dht.translation is Translation.OPEN
        assert place.discovery.dht.seen_at == place.datagrams.address


async def test_alone_nobody_answers_and_it_says_so(make: Make) -> None:
    alone = await make(1)
    with pytest.raises(Unavailable, match="no node keeps that"):
        await alone.discovery.dht.put(b"bread", 5)
    assert await alone.discovery.dht.get(b"k" * 32, 5) is None


def test_addresses_of_before_are_kept_and_a_damaged_file_counts_as_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "peers.json"
    assert cache.read(path) == ()
    cache.Cache(path, lambda: [("10.0.0.1", 7_946)]).write()
    assert cache.read(path) == (("10.0.0.1", 7_946),)
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"\xff{")
    assert cache.read(path) == ()
    assert "cannot be read" in caplog.text
