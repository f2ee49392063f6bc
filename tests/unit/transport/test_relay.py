"""Connections through a third node: they work as others do, it sees nothing, and carries so many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from hivemind.errors import Unavailable
from hivemind.security.identity import Identity
from hivemind.transport.contract import Stream
from hivemind.transport.peers import TcpPeers
from hivemind.transport.relay import Limits, Relay

pytestmark = pytest.mark.anyio
NOWHERE = ("127.0.0.1", 1)
"""Refuses at once: nobody listens there."""


class Node:
    def __init__(self, number: int, limits: Limits) -> None:
        self.peers = TcpPeers(Identity(bytes([number]) * 32), lambda node: True, hive="hive")
        self.seen: list[bytes] = []
        self.relay = Relay(self.peers, limits=limits, tap=self.seen.append)
        self.heard: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

    @property
    def id(self) -> str:
        return self.peers.node

    async def start(self) -> Node:
        await self.peers.start("127.0.0.1", 0)
        self.relay.start()
        self.peers.on_message("words", lambda sender, message: self.heard.put_nowait((sender, message)))
        self.peers.answer("echo", _echo)
        self.peers.accept("mill", _mill)
        return self

    async def close(self) -> None:
        await self.relay.close()
        await self.peers.close()


async def _echo(sender: str, question: bytes) -> bytes:
    return question


async def _mill(stream: Stream) -> None:
    """Returns everything, to its end."""
    while (message := await stream.receive()) is not None:
        await stream.send(message)
    await stream.finish()


LIMITS = Limits(carried=1, patience=5.0)


@pytest.fixture
async def three() -> AsyncIterator[list[Node]]:
    """The last one reaches both others, which cannot reach each other."""
    nodes = [await Node(number, LIMITS).start() for number in (1, 2, 3)]
    one, other, third = nodes
    for node in (one, other):
        node.peers.learn(third.id, [third.peers.address])
        assert await node.peers.call(third.id, "echo", b"hello", timeout=5) == b"hello"
    one.peers.learn(other.id, [NOWHERE])
    other.peers.learn(one.id, [NOWHERE])
    yield nodes
    for node in nodes:
        await node.close()


async def test_who_is_not_reached_directly_is_reached_through_a_third_node_that_reads_nothing(
    three: list[Node],
) -> None:
    one, other, third = three
    secret = b"the word that nobody else must read"
    assert one.peers.send(other.id, "words", secret)
    async with asyncio.timeout(10):
        assert await other.heard.get() == (one.id, secret)
    assert one.relay.through == {other.id: third.id}
    assert await other.peers.call(one.id, "echo", secret, timeout=5) == secret
    carried = b"".join(third.seen)
    assert len(carried) > 3 * len(secret) and secret not in carried
    assert third.relay.carried == {one.id: 1}


async def test_streams_and_much_of_them_go_through_too(three: list[Node]) -> None:
    one, other, _ = three
    stream = await one.peers.open(other.id, "mill", timeout=10)
    pieces = [bytes([number]) * 300_000 for number in range(8)]

    async def send() -> None:
        for piece in pieces:
            await stream.send(piece)
        await stream.finish()

    task = asyncio.create_task(send())
    async with asyncio.timeout(20):
        for piece in pieces:
            assert await stream.receive() == piece
        assert await stream.receive() is None
    await task


async def test_when_the_third_node_goes_the_connection_ends_and_is_known_to(three: list[Node]) -> None:
    one, other, third = three
    assert await one.peers.call(other.id, "echo", b"one", timeout=10) == b"one"
    gone = asyncio.Event()
    one.peers.on_connection(lambda node, connected: gone.set() if node == other.id else None)
    await third.close()
    async with asyncio.timeout(10):
        await gone.wait()
    assert not one.relay.through
    with pytest.raises(Unavailable):
        await one.peers.call(other.id, "echo", b"two", timeout=5)


async def test_it_carries_only_to_whom_it_knows_and_only_so_many(three: list[Node]) -> None:
    one, other, third = three
    unknown = Identity(bytes([8]) * 32).public
    one.peers.learn(unknown, [NOWHERE])
    with pytest.raises(Unavailable, match="no way"):
        await one.peers.call(unknown, "echo", b"", timeout=5)
    assert await one.peers.call(other.id, "echo", b"one", timeout=10) == b"one"
    late = await Node(4, LIMITS).start()
    try:
        late.peers.learn(third.id, [third.peers.address])
        await late.peers.call(third.id, "echo", b"hello", timeout=5)
        late.peers.learn(other.id, [NOWHERE])
        with pytest.raises(Unavailable, match="no way"):
            await late.peers.call(other.id, "echo", b"", timeout=5)
        assert third.relay.carried == {one.id: 1}
    finally:
        await late.close()


async def test_a_node_that_does_not_hold_the_key_it_claims_is_not_let_in_by_a_detour(
    three: list[Node],
) -> None:
    """Whoever is in between cannot answer for the other end."""
    one, other, third = three
    false = Identity(bytes([9]) * 32)
    one.peers.learn(false.public, [NOWHERE])
    third.peers._services.serving["relay"] = _misleading(third, other.id)
    with pytest.raises(Unavailable):
        await one.peers.call(false.public, "echo", b"", timeout=1)


def _misleading(third: Node, node: str):  # type: ignore[no-untyped-def]
    async def serve(stream: Stream) -> None:
        await stream.receive()
        onward = await third.peers.open(node, "carried", timeout=5)
        await stream.send(b"ready")
        while (piece := await stream.receive()) is not None:
            await onward.send(piece)
        await onward.close()

    return serve
