"""Published ports that lead to other nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import msgspec
import pytest

from hive import Hive
from hivemind.agent import relays
from hivemind.agent.relays import Relays, Streams, Target, Wish
from hivemind.drivers.network.contract import Published
from hivemind.errors import Conflict, Unavailable
from hivemind.model.network import Port
from hivemind.transport.fake import FakeNetwork

pytestmark = pytest.mark.anyio
PLACE = ("127.0.0.1", Published("tcp", 8080))
PORTS = (Port(container=80, host=8080), Port(container=81))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class World:
    """`near` has the listener; an app runs on node-1, where whoever connects is told its words backwards."""

    def __init__(self) -> None:
        self.hive = Hive(2)
        self.hive.deploy(ports=PORTS, constraints=("node.name==node-1",))
        [self.replica] = self.hive.live()
        self.network = FakeNetwork()
        self.peers = [self.network.peers(name) for name in ("node-0", "node-1")]
        self.network.introduce()
        self.near, self.far = (Relays(p.node, self.hive.state) for p in self.peers)
        self.near.connect(self.peers[0])
        self.far.connect(self.peers[1])
        self.reached: list[tuple[str, int]] = []
        self.far.reach = self._reach

    async def open(self) -> None:
        self.server = await asyncio.start_server(self._answer, "127.0.0.1", 0)

    async def _reach(self, allocation: str, port: int) -> Streams:
        self.reached.append((allocation, port))
        return await asyncio.open_connection(*self.server.sockets[0].getsockname()[:2])

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """All that is said, backwards, once the other side has said all."""
        said = await reader.read(-1)
        writer.write(said[::-1])
        writer.close()

    def target(self, port: int = 80) -> Target:
        return Target("node-1", self.replica.id, port)

    async def ask(self, said: bytes, *targets: Target) -> bytes:
        backends = await self.near.keep({PLACE: targets or (self.target(),)})
        reader, writer = await asyncio.open_connection(*backends[PLACE])
        writer.write(said)
        writer.write_eof()
        answer = b""
        with suppress(ConnectionResetError):
            answer = await reader.read(-1)
        writer.close()
        return answer

    async def close(self) -> None:
        self.server.close()
        await self.near.close()
        await self.far.close()
        for peers in self.peers:
            await peers.close()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await made.open()
    yield made
    await made.close()


async def test_a_connection_is_carried_both_ways_to_its_end(world: World) -> None:
    large = bytes(range(256)) * 10_000
    assert await world.ask(large) == large[::-1]
    assert world.reached == [(world.replica.id, 80)]
    both = await asyncio.gather(world.ask(b"ab"), world.ask(b"cd"))
    assert both == [b"ba", b"dc"]


async def test_the_listener_stays_where_it_is_and_goes_when_it_is_not_wanted(world: World) -> None:
    first = await world.near.keep({PLACE: (world.target(),)})
    assert await world.near.keep({PLACE: (world.target(), world.target())}) == first
    assert await world.near.keep({}) == {}
    with pytest.raises(OSError):
        await asyncio.open_connection(*first[PLACE])


async def test_one_that_cannot_be_reached_is_passed_over(world: World) -> None:
    gone = Target("node-9", "nothing", 80)
    for _ in range(8):
        assert await world.ask(b"ab", gone, world.target()) == b"ba"


async def test_where_nobody_can_be_reached_the_connection_ends(world: World) -> None:
    world.network.cut("node-0", "node-1")
    assert await world.ask(b"ab") == b""


async def test_a_replica_that_does_not_listen_ends_it_too(world: World) -> None:
    async def refuse(allocation: str, port: int) -> Streams:
        raise Conflict("nothing listens there")

    world.far.reach = refuse
    assert await world.ask(b"ab") == b""


@pytest.mark.parametrize("port", [81, 22])
async def test_only_what_is_published_is_reached_from_other_nodes(world: World, port: int) -> None:
    assert await world.ask(b"ab", world.target(port)) == b""
    assert world.reached == []


async def test_nothing_is_reached_that_does_not_live_there(world: World) -> None:
    for id in ("nothing", ""):
        stream = await world.peers[0].open("node-1", "port", timeout=1)
        await stream.send(msgspec.msgpack.encode(Wish(id, 80)))
        with pytest.raises(Unavailable):
            await stream.receive()
    stream = await world.peers[0].open("node-1", "port", timeout=1)
    await stream.send(b"\xc1")
    with pytest.raises(Unavailable):
        await stream.receive()
    assert world.reached == []


async def test_a_node_that_connects_without_end_takes_it_from_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relays, "_OF_ONE", 3)
    greedy, wish = world.network.peers("node-2"), msgspec.msgpack.encode(Wish(world.replica.id, 80))
    world.peers.append(greedy)
    world.network.introduce()
    held = []
    for _ in range(3):
        held.append(await greedy.open("node-1", "port", timeout=1))
        await held[-1].send(wish)
        assert await held[-1].receive() is not None
    further = await greedy.open("node-1", "port", timeout=1)
    with pytest.raises(Unavailable):
        await further.send(wish)
        await further.receive()
    assert await world.ask(b"ab") == b"ba"
    await held[0].finish()
    assert await held[0].receive() is None
    assert await world.ask(b"cd") == b"dc"
