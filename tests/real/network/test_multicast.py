"""Nodes that ask around on their network, which is one of their own here."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from hivemind.daemon.hive.invitation import Invitation
from hivemind.daemon.hive.seeking import NEIGHBOURS, Entrance, Search
from hivemind.daemon.hive.wire import Wire
from hivemind.daemon.settings import ClusterSettings
from hivemind.security.identity import Identity
from hivemind.transport.contract import Address
from hivemind.transport.discovery.multicast import Multicast

pytestmark = [pytest.mark.real, pytest.mark.anyio]
SECRET, ANOTHER = b"s" * 32, b"a" * 32


class Ear:
    def __init__(self) -> None:
        self.heard: dict[str, tuple[Address, ...]] = {}
        self.where: list[Address] = []
        self.news = asyncio.Event()

    def found(self, node: str, addresses: tuple[Address, ...]) -> None:
        self.heard[node] = addresses
        self.news.set()

    def perhaps(self, addresses: tuple[Address, ...]) -> None:
        self.where += addresses

    async def until_heard(self, node: str) -> None:
        async with asyncio.timeout(20):
            while node not in self.heard:
                self.news.clear()
                await self.news.wait()


@pytest.fixture(autouse=True)
def _network() -> None:
    for words in (
        "link add lan type veth peer name wire",
        "link set wire up",
        "addr add 10.1.1.1/24 dev lan",
        "link set lan up multicast on",
    ):
        subprocess.run(["ip", *words.split()], check=True)


async def test_nodes_of_one_hive_hear_each_other_and_nobody_else() -> None:
    here: tuple[Address, ...] = (("10.1.1.1", 7_946),)
    ears, made = [Ear(), Ear(), Ear()], []
    for number, (ear, secret) in enumerate(zip(ears, (SECRET, SECRET, ANOTHER), strict=True)):
        made.append(Multicast(Identity(bytes([number]) * 32), "hive", secret, here))
        await made[-1].start(ear)
    one, two, stranger = (Identity(bytes([number]) * 32).public for number in range(3))
    try:
        await ears[0].until_heard(two)
        await ears[1].until_heard(one)
        assert ears[0].heard == {two: here} and ears[1].heard == {one: here}
        assert not ears[2].heard and stranger not in ears[0].heard
        assert set(ears[0].where) == set(here)
    finally:
        for each in made:
            each.close()


async def test_a_node_that_wants_in_hears_where_its_neighbours_are() -> None:
    """Nobody told it of any address."""
    there: tuple[Address, ...] = (("10.1.1.1", 7_946),)
    neighbour, newcomer = Multicast(Identity(bytes(32)), "hive", SECRET, there), Identity(b"n" * 32)
    await neighbour.start(Ear())
    wire = await Wire.open(("10.1.1.1", 0), newcomer)
    invitation = Invitation("hive", "office", SECRET, b"t" * 32, "member", ())
    settings = ClusterSettings(cluster_multicast="on")
    try:
        async with Search(wire, newcomer, settings, invitation, cached=Path("/nowhere")) as search:
            async with asyncio.timeout(20):
                assert await anext(search) == Entrance(there[0], NEIGHBOURS)
    finally:
        neighbour.close()
        await wire.close()


async def test_where_there_is_no_such_network_it_says_so_and_the_node_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lost = Multicast(Identity(bytes(32)), "hive", SECRET, (("10.9.9.9", 7_946),))
    await lost.start(Ear())
    lost.close()
    assert "not looked for" in caplog.text
