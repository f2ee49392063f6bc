"""Where a node that wants in may knock: what the hive's table names, over real datagrams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from hivemind.daemon.hive import seeking
from hivemind.daemon.hive.addresses import show
from hivemind.daemon.hive.invitation import Invitation
from hivemind.daemon.hive.seeking import Entrance, Search
from hivemind.daemon.hive.wire import Wire
from hivemind.daemon.settings import ClusterSettings
from hivemind.errors import Unavailable
from hivemind.security.identity import Identity, verify
from hivemind.transport.contract import Address
from hivemind.transport.datagrams import UdpDatagrams
from hivemind.transport.discovery.cache import Cached
from hivemind.transport.discovery.dht import Dht
from hivemind.transport.discovery.discovery import Discovery
from hivemind.transport.discovery.seeds import Seeds

pytestmark = pytest.mark.anyio
SECRET = b"s" * 32
MEMBERS = {Identity(bytes([number]) * 32).public for number in range(1, 10)}


class Member:
    """A node that is of the hive, and answers as such."""

    def __init__(self, number: int, seeds: list[Address]) -> None:
        self.identity = Identity(bytes([number]) * 32)
        self.datagrams = UdpDatagrams(self.identity)
        self.datagrams.enter("hive", SECRET)
        self.found: set[str] = set()
        self.news = asyncio.Event()
        self._seeds = seeds

    async def start(self) -> None:
        await self.datagrams.start("127.0.0.1", 0)
        self.address = self.datagrams.address
        self.discovery = Discovery(
            lambda outside: Dht(
                self.datagrams, self.identity, verify, hive="hive", own=self.address,
                admits=MEMBERS.__contains__, outside=outside,
            ),
            lambda dht: [Seeds(self._seeds)],
            name="office",
            secret=SECRET,
            addresses=[self.address],
            found=self._hear,
        )  # fmt: skip
        await self.discovery.start()

    def _hear(self, node: str, addresses: tuple[Address, ...]) -> None:
        self.found.add(node)
        self.news.set()

    async def knows(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.found) < count:
                self.news.clear()
                await self.news.wait()


Start = Callable[[int], Awaitable[list[Member]]]


@pytest.fixture
async def hive() -> AsyncIterator[Start]:
    made: list[Member] = []

    async def start(count: int) -> list[Member]:
        for number in range(1, count + 1):
            made.append(Member(number, [made[0].address] if made else []))
            await made[-1].start()
        for member in made:
            await member.knows(count - 1)
        return made

    yield start
    for member in made:
        await member.discovery.close()
        member.datagrams.close()


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    made = await Wire.open(("127.0.0.1", 0), Identity(b"n" * 32))
    yield made
    await made.close()


def search(
    wire: Wire,
    *seeds: Address,
    addresses: tuple[Address, ...] = (),
    secret: bytes = SECRET,
    cached: Path = Path("/nowhere"),
    settings: ClusterSettings | None = None,
) -> Search:
    invitation = Invitation("hive", "office", secret, b"t" * 32, "member", addresses)
    settings = settings or ClusterSettings()
    return Search(wire, Identity(b"n" * 32), settings, invitation, seeds=seeds, cached=cached)


async def collected(search: Search, count: int) -> set[Entrance]:
    found = set()
    async with asyncio.timeout(20):
        async for entrance in search:
            found.add(entrance)
            if len(found) == count:
                break
    return found


async def test_any_node_names_all_the_others(hive: Start, wire: Wire) -> None:
    members = await hive(3)
    async with search(wire, members[2].address) as looking:
        found = await collected(looking, 3)
    assert found == {Entrance(member.address, seeking.TABLE) for member in members}
    assert all(wire.datagrams.node not in member.found for member in members), "it announces nothing"


async def test_who_is_alone_in_its_hive_is_found(hive: Start, wire: Wire) -> None:
    [founder] = await hive(1)
    async with search(wire, founder.address) as looking:
        assert await collected(looking, 1) == {Entrance(founder.address, seeking.TABLE)}


async def test_what_the_token_names_comes_first_though_it_is_dead(hive: Start, wire: Wire) -> None:
    [founder] = await hive(1)
    dead = ("127.0.0.1", 9)
    async with search(wire, founder.address, addresses=(dead,)) as looking:
        assert await anext(looking) == Entrance(dead, seeking.TOKEN)
        assert await anext(looking) == Entrance(founder.address, seeking.TABLE)


async def test_addresses_of_an_earlier_time_and_settings_are_where_it_begins(
    hive: Start, wire: Wire, tmp_path: Path
) -> None:
    members = await hive(2)
    (tmp_path / "peers.json").write_bytes(msgspec.json.encode(Cached(addresses=(members[1].address,))))
    async with search(wire, cached=tmp_path / "peers.json") as looking:
        assert await collected(looking, 2) == {Entrance(m.address, seeking.TABLE) for m in members}
    settings = ClusterSettings(cluster_seeds=(show(members[0].address),))
    async with search(wire, settings=settings) as looking:
        assert await collected(looking, 2) == {Entrance(m.address, seeking.TABLE) for m in members}


async def test_where_people_say_that_a_node_is_it_is_knocked_though_no_datagram_comes_through(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeking, "_SEEDS_AFTER", 0.01)
    async with search(wire, ("127.0.0.1", 9)) as looking:
        assert await anext(looking) == Entrance(("127.0.0.1", 9), seeking.SEEDS)


async def test_with_another_secret_nobody_answers_and_it_says_what_it_tried(
    hive: Start, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeking, "_SEEDS_AFTER", 60)
    monkeypatch.setattr(seeking, "_PATIENCE", 0.5)
    [founder] = await hive(1)
    async with search(wire, founder.address, secret=b"x" * 32) as looking:
        assert await collected(looking, 1) == set()
        assert looking.over
    told = looking.tried()
    assert (
        told == f"the token names no address; the DHT was asked at {show(founder.address)} and named nobody"
    )


async def test_nobody_to_ask_is_told_at_once(wire: Wire) -> None:
    with pytest.raises(Unavailable, match="nobody is known who could be asked") as told:
        async with search(wire):
            pass
    assert "--seed" in told.value.hint and "cluster_multicast" in told.value.hint


async def test_it_ends_soon_after_somebody_said_no(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeking, "_PATIENCE", 60)
    monkeypatch.setattr(seeking, "_SEEDS_AFTER", 60)
    monkeypatch.setattr(seeking, "_HURRY", 0.01)
    async with search(wire, ("127.0.0.1", 9)) as looking:
        looking.hurry()
        assert await collected(looking, 1) == set()


async def test_who_names_without_end_is_heard_so_long(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeking, "_SEEDS_AFTER", 60)
    monkeypatch.setattr(seeking, "_PATIENCE", 0.2)
    async with search(wire, ("127.0.0.1", 9)) as looking:
        for number in range(1, 200):
            looking.found("somebody", (("10.0.0.1", number), wire.address))
        found = await collected(looking, 1_000)
    assert 0 < len(found) < 64 and wire.address not in {entrance.address for entrance in found}
