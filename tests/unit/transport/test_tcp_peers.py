"""Connections over real TCP: who gets one, who loses one, and what hostile and broken ones cost the others."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from hivemind.errors import Invalid, NotFound, Unavailable
from hivemind.protocols.machine import MILLISECOND, SECOND
from hivemind.protocols.mux.frame import Kind, encode, encode_service
from hivemind.protocols.mux.limits import Limits
from hivemind.protocols.noise.channel import Channel
from hivemind.security.identity import Identity
from hivemind.transport.connection import Timing
from hivemind.transport.contract import Contact, Stream
from hivemind.transport.datagrams import UdpDatagrams
from hivemind.transport.link import Bounds
from hivemind.transport.peers import TcpPeers
from unit.transport.wire import Wire

pytestmark = pytest.mark.anyio
SECRET = b"s" * 32
IMPATIENT = Limits(ping_after=50 * MILLISECOND, dead_after=150 * MILLISECOND)
IDS = sorted((Identity(bytes([number]) * 32) for number in range(1, 6)), key=lambda one: one.public)
"""The first is preferred when two call each other."""


class Nodes:
    def __init__(self) -> None:
        self.closing: list[Callable[[], Awaitable[None]]] = []
        self.strangers: list[asyncio.StreamWriter] = []

    async def peers(self, number: int, port: int = 0, **more: Any) -> TcpPeers:
        more.setdefault("secret", SECRET)
        allowed = more.pop("allowed", lambda node: True)
        made = TcpPeers(IDS[number], allowed, hive="hive", **more)
        await made.start("127.0.0.1", port)
        self.closing.append(made.close)
        return made

    async def wire(self, to: TcpPeers) -> Wire:
        made = await Wire(to.address).start()
        self.closing.append(made.close)
        return made

    async def stranger(self, to: TcpPeers) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*to.address)
        self.strangers.append(writer)
        return reader, writer

    async def close(self) -> None:
        for close in reversed(self.closing):
            await close()
        for writer in self.strangers:
            writer.transport.abort()


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    made = Nodes()
    yield made
    await made.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def ended(reader: asyncio.StreamReader) -> bytes:
    """All that came before the end."""
    async with asyncio.timeout(10):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


async def echo(sender: str, question: bytes) -> bytes:
    return question


async def test_it_listens_only_where_it_is_told(nodes: Nodes) -> None:
    a = await nodes.peers(0)
    assert a.address[0] == "127.0.0.1"
    with pytest.raises(Unavailable, match="cannot listen"):
        await nodes.peers(1, port=a.address[1])


async def test_no_address_does_not_mean_every_address(nodes: Nodes) -> None:
    with pytest.raises(Invalid):
        await TcpPeers(IDS[0], lambda node: True).start("", 0)
    with pytest.raises(Invalid):
        await UdpDatagrams(IDS[0]).start("", 0)


async def test_what_was_said_before_the_end_arrives(nodes: Nodes) -> None:
    a, b = await nodes.peers(0), await nodes.peers(1)
    heard: list[bytes] = []
    b.on_message("store", lambda sender, message: heard.append(message))
    b.answer("api", echo)
    a.learn(b.node, [b.address])
    await a.call(b.node, "api", b"", timeout=5)
    a.send(b.node, "store", b"last words")
    await a.close()
    await until(lambda: not b.connected)
    assert heard == [b"last words"]


async def test_connections_that_read_into_one_place_do_not_mix_what_came(nodes: Nodes) -> None:
    hub, *others = [await nodes.peers(number) for number in range(4)]
    sizes = [0, 1, 300, 70_000, 299, 200_000, 2, 65_536]
    said = {one.node: [bytes([number]) * size for size in sizes] for number, one in enumerate(others)}
    heard: dict[str, list[bytes]] = {one.node: [] for one in others}
    hub.on_message("store", lambda sender, message: heard[sender].append(message))
    for one in others:
        one.learn(hub.node, [hub.address])
    for number in range(len(sizes)):
        for one in others:
            assert one.send(hub.node, "store", said[one.node][number])
    await until(lambda: all(len(came) == len(sizes) for came in heard.values()))
    assert heard == said


async def test_who_watches_and_fails_costs_nobody_else(
    nodes: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = await nodes.peers(0), await nodes.peers(1)
    told: list[bool] = []

    def fragile(node: str, connected: bool) -> None:
        raise ZeroDivisionError

    a.on_connection(fragile)
    a.on_connection(lambda node, connected: told.append(connected))
    b.answer("api", echo)
    a.learn(b.node, [b.address])
    assert await a.call(b.node, "api", b"hi", timeout=5) == b"hi"
    assert told == [True]
    assert "ZeroDivisionError" in caplog.text


async def test_noise_is_hung_up_on_at_once_and_answered_with_nothing(nodes: Nodes) -> None:
    a = await nodes.peers(0)
    for noise in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(100), b"hm\x01\x01\xff\xff" + bytes(100)):
        reader, writer = await nodes.stranger(a)
        writer.write(noise)
        assert await ended(reader) == b""
    await until(lambda: a.refused == 3)


async def test_who_trickles_is_hung_up_on(nodes: Nodes) -> None:
    """A deadline for the whole handshake, whatever comes meanwhile."""
    a = await nodes.peers(0, timing=Timing(handshake=0.2))
    reader, writer = await nodes.stranger(a)
    trickle = Channel(
        IDS[1].seed, IDS[1].public, "hive", initiator=True, ephemeral=b"e" * 32, remote=a.node
    ).outgoing()
    for byte in trickle[:5]:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.01)
    assert await ended(reader) == b""
    assert a.refused == 1


async def test_who_shakes_hands_and_never_says_hello_is_hung_up_on(nodes: Nodes) -> None:
    a = await nodes.peers(0, timing=Timing(handshake=0.2))
    reader, writer = await nodes.stranger(a)
    channel = Channel(IDS[1].seed, IDS[1].public, "hive", initiator=True, ephemeral=b"e" * 32, remote=a.node)
    writer.write(channel.outgoing())
    channel.receive(await ended(reader))
    assert channel.established
    assert a.connected == frozenset()


async def test_who_does_not_belong_is_not_even_answered(nodes: Nodes) -> None:
    a = await nodes.peers(0, allowed=lambda node: node != IDS[1].public)
    reader, writer = await nodes.stranger(a)
    writer.write(
        Channel(
            IDS[1].seed, IDS[1].public, "hive", initiator=True, ephemeral=b"e" * 32, remote=a.node
        ).outgoing()
    )
    assert await ended(reader) == b""
    assert a.refused == 1


async def test_a_flood_of_strangers_does_not_keep_a_node_out(nodes: Nodes) -> None:
    a = await nodes.peers(0, bounds=Bounds(strangers_of_address=8))
    a.answer("api", echo)
    for _ in range(100):
        await nodes.stranger(a)
    b = await nodes.peers(1)
    b.learn(a.node, [a.address])
    assert await b.call(a.node, "api", b"hello", timeout=5) == b"hello"
    assert len(a._strangers) <= 8
    assert a.refused >= 92


async def test_a_recorded_call_replaces_no_connection(nodes: Nodes) -> None:
    a, b = await nodes.peers(0, timing=Timing(handshake=0.3)), await nodes.peers(1)
    wire = await nodes.wire(a)
    a.answer("api", echo)
    b.learn(a.node, [wire.address])
    await b.call(a.node, "api", b"one", timeout=5)
    told: list[tuple[str, bool]] = []
    a.on_connection(lambda node, connected: told.append((node, connected)))
    recorded = wire.recorded[0]
    first = 6 + int.from_bytes(recorded[4:6], "big")
    reader, writer = await nodes.stranger(a)
    writer.write(recorded[:first])
    assert await reader.read(1), "the first message is genuine, and answered"
    writer.write(recorded[first:])
    await ended(reader)
    assert a.refused == 1
    assert told == []
    assert await b.call(a.node, "api", b"two", timeout=5) == b"two"


class Traitor:
    """A node that belongs to the hive, speaks by hand, and says what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: str) -> None:
        self.reader, self.writer = reader, writer
        self.channel = Channel(
            IDS[4].seed, IDS[4].public, "hive", initiator=True, ephemeral=b"t" * 32, remote=to
        )

    async def shake(self) -> None:
        self.writer.write(self.channel.outgoing())
        while not self.channel.established:
            self.channel.receive(await self.reader.read(1_000))
        await self.say(b"\x01")
        while self.channel.receive(await self.reader.read(1_000)) != [b"\x01"]:
            pass

    async def say(self, *frames: bytes) -> None:
        self.writer.write(b"".join(self.channel.seal(frame) for frame in frames))
        await self.writer.drain()


@pytest.mark.parametrize(
    "frames",
    [
        [b"\xff" * 60_000],
        [encode(Kind.DATA, 7, b"of no stream")],
        [encode(Kind.OPEN, 1, encode_service("logs"))] + [encode(Kind.LAST, 1, bytes(30_000))] * 20,
        [encode(Kind.MESSAGE, 1, encode_service("store") + bytes(30_000))] * 40,
    ],
    ids=["noise", "no-stream", "beyond-window", "endless-message"],
)
async def test_a_node_of_the_hive_that_breaks_the_rules_is_cut(nodes: Nodes, frames: list[bytes]) -> None:
    a, b = await nodes.peers(0), await nodes.peers(1)
    a.answer("api", echo)

    async def hold(stream: Stream) -> None:
        await asyncio.Event().wait()

    a.accept("logs", hold)
    b.learn(a.node, [a.address])
    traitor = Traitor(*await nodes.stranger(a), a.node)
    await traitor.shake()
    assert a.connected == {IDS[4].public}
    with contextlib.suppress(ConnectionError):
        await traitor.say(*frames)
    await until(lambda: not a.connected)
    assert await b.call(a.node, "api", b"hi", timeout=5) == b"hi"


async def test_questions_beyond_the_bound_are_refused_and_the_rest_are_answered(nodes: Nodes) -> None:
    a = await nodes.peers(0, limits=Limits(streams=10))
    asked, release = 0, asyncio.Event()

    async def slow(sender: str, question: bytes) -> bytes:
        nonlocal asked
        asked += 1
        await release.wait()
        return question

    a.answer("api", slow)
    traitor = Traitor(*await nodes.stranger(a), a.node)
    await traitor.shake()
    for number in range(1, 201, 2):
        await traitor.say(
            encode(Kind.ASK, number, encode_service("api")), encode(Kind.LAST, number, b"question")
        )
    kinds: list[int] = []
    while len(kinds) < 90:
        kinds += [frame[0] for frame in traitor.channel.receive(await traitor.reader.read(65_536))]
    assert set(kinds) == {Kind.RESET}
    assert asked == 10
    release.set()
    while len(kinds) < 100:
        kinds += [frame[0] for frame in traitor.channel.receive(await traitor.reader.read(65_536))]
    assert kinds[90:] == [Kind.LAST] * 10


async def test_who_makes_us_answer_and_never_listens_is_cut(nodes: Nodes) -> None:
    a = await nodes.peers(0)
    traitor = Traitor(*await nodes.stranger(a), a.node)
    await traitor.shake()
    traitor.reader._transport.pause_reading()  # type: ignore[attr-defined]
    pings = b"".join(traitor.channel.seal(encode(Kind.PING, 0)) for _ in range(3_000))
    said = 0
    with contextlib.suppress(ConnectionError):
        while a.connected and said < 20_000:
            traitor.writer.write(pings)
            pings = b"".join(traitor.channel.seal(encode(Kind.PING, 0)) for _ in range(3_000))
            await traitor.writer.drain()
            said += 3_000
    await until(lambda: not a.connected)


async def test_a_first_contact_reaches_nothing_but_the_welcome(nodes: Nodes) -> None:
    """By hand, since nothing of ours would try."""
    a, b = await nodes.peers(0), await nodes.peers(1)
    heard: list[bytes] = []
    a.on_message("store", lambda sender, message: heard.append(message))
    a.answer("api", echo)

    async def sponsor(contact: Contact) -> None:
        assert await contact.receive() == b"let me in"
        await contact.send(b"welcome")
        await contact.receive()

    a.welcome(sponsor)
    contact: Any = await b.contact(a.address, "hive", SECRET, timeout=5)
    connection = contact._conversations
    connection.send("store", b"to whoever listens")
    with pytest.raises(NotFound):
        await connection.call("api", b"")
    with pytest.raises(NotFound):
        await connection.open("logs")
    await contact.send(b"let me in")
    assert await contact.receive() == b"welcome"
    assert heard == []
    await contact.close()


async def test_first_contacts_are_few_at_once_and_end(nodes: Nodes) -> None:
    a = await nodes.peers(0, bounds=Bounds(contacts=2, contact_time=0.3))
    b = await nodes.peers(1)

    async def forever(contact: Contact) -> None:
        await contact.receive()

    a.welcome(forever)
    first = await b.contact(a.address, "hive", SECRET, timeout=5)
    await b.contact(a.address, "hive", SECRET, timeout=5)
    with pytest.raises(Unavailable):
        await b.contact(a.address, "hive", SECRET, timeout=5)
    with pytest.raises(Unavailable):
        async with asyncio.timeout(5):
            await first.receive()
    await b.contact(a.address, "hive", SECRET, timeout=5)


async def test_a_first_contact_in_which_nothing_is_said_makes_room(nodes: Nodes) -> None:
    """By hand, since nothing of ours would call and say nothing."""
    a = await nodes.peers(0, bounds=Bounds(contacts=2, contact_opens=0.1))
    b = await nodes.peers(1)

    async def sponsor(contact: Contact) -> None:
        while (message := await contact.receive()) is not None:
            await contact.send(message)

    a.welcome(sponsor)
    busy = await b.contact(a.address, "hive", SECRET, timeout=5)
    silent = b._connection(b._channel("hive", SECRET, initiator=True), dialed=True)
    await asyncio.get_running_loop().create_connection(lambda: silent, *a.address)
    await until(lambda: silent.over)
    await b.contact(a.address, "hive", SECRET, timeout=5)
    await busy.send(b"still here")
    assert await busy.receive() == b"still here"


async def test_a_long_answer_to_a_first_contact_arrives_whole(nodes: Nodes) -> None:
    """More than fits into any buffer, to a slow reader, from a handler that has ended already."""
    a, b = await nodes.peers(0), await nodes.peers(1)

    async def sponsor(contact: Contact) -> None:
        assert await contact.receive() is None
        for _ in range(8):
            await contact.send(b"x" * (1 << 20))
        await contact.finish()

    a.welcome(sponsor)
    contact = await b.contact(a.address, "hive", SECRET, timeout=5)
    await contact.finish()
    sizes = []
    while (message := await contact.receive()) is not None:
        sizes.append(len(message))
        await asyncio.sleep(0.01)
    assert sizes == [1 << 20] * 8


async def test_a_frozen_connection_is_noticed_and_made_anew(nodes: Nodes) -> None:
    a, b = await nodes.peers(0, limits=IMPATIENT), await nodes.peers(1, limits=IMPATIENT)
    wire = await nodes.wire(b)
    b.answer("api", echo)
    a.learn(b.node, [wire.address])
    await a.call(b.node, "api", b"", timeout=5)
    told: list[bool] = []
    a.on_connection(lambda node, connected: told.append(connected))
    wire.freeze()
    with pytest.raises(Unavailable, match="says nothing any more"):
        await a.call(b.node, "api", b"lost", timeout=5)
    await until(lambda: not b.connected)
    assert told == [False]
    wire.thaw()
    assert await a.call(b.node, "api", b"again", timeout=5) == b"again"


async def test_quiet_connections_live_on_pings(nodes: Nodes) -> None:
    """Far beyond the deadline of their handshake, and that of what is quiet."""
    brief = Timing(handshake=0.2)
    a = await nodes.peers(0, limits=IMPATIENT, timing=brief)
    b = await nodes.peers(1, limits=IMPATIENT, timing=brief)
    b.answer("api", echo)
    a.learn(b.node, [b.address])
    await a.call(b.node, "api", b"", timeout=5)
    told: list[bool] = []
    a.on_connection(lambda node, connected: told.append(connected))
    await asyncio.sleep(0.5)
    assert told == []
    assert a.connected == {b.node}


@pytest.mark.parametrize("caller", [0, 1], ids=["lower", "higher"])
async def test_a_node_that_lost_its_connection_without_a_word_is_let_in_again(
    nodes: Nodes, caller: int
) -> None:
    """The other one still believes in the old connection, which it had made itself, or not."""
    patient = Limits(ping_after=60 * SECOND, dead_after=120 * SECOND)
    old = await nodes.peers(caller)
    stays = await nodes.peers(1 - caller, limits=patient, bounds=Bounds(doubt=0.1))
    stays.answer("api", echo)
    old.answer("api", echo)
    wire = await nodes.wire(old)
    stays.learn(old.node, [wire.address])
    await stays.call(old.node, "api", b"", timeout=5)
    wire.freeze()
    again = await nodes.peers(caller, bounds=Bounds(preferred=0.2))
    again.learn(stays.node, [stays.address])

    async def reached() -> bool:
        try:
            return await again.call(stays.node, "api", b"hi", timeout=5) == b"hi"
        except Unavailable:
            return False

    assert again.node == old.node
    async with asyncio.timeout(10):
        while not await reached():
            pass
    assert stays.connected == {again.node}


async def test_calls_at_the_same_moment_never_fail_each_other(nodes: Nodes) -> None:
    """Again and again both call at once: no question is lost, and one connection remains."""
    a, b = await nodes.peers(0), await nodes.peers(1)
    for one, other in ((a, b), (b, a)):
        one.answer("api", echo)
        one.learn(other.node, [other.address])
    for turn in range(30):
        answers = await asyncio.gather(
            *(a.call(b.node, "api", b"a%d" % turn, timeout=5) for _ in range(3)),
            *(b.call(a.node, "api", b"b%d" % turn, timeout=5) for _ in range(3)),
        )
        assert answers == [b"a%d" % turn] * 3 + [b"b%d" % turn] * 3
        assert a.connected == {b.node} and b.connected == {a.node}
        connection = (a, b)[turn % 2]._links[(b, a)[turn % 2].node].connection
        assert connection
        connection.abort("the test breaks it")
        await until(lambda: not a.connected and not b.connected)


async def test_a_node_that_comes_back_elsewhere_is_found(nodes: Nodes) -> None:
    a, b = await nodes.peers(0), await nodes.peers(1)
    b.answer("api", echo)
    a.learn(b.node, [b.address])
    await a.call(b.node, "api", b"", timeout=5)
    gone = b.address
    await b.close()
    await until(lambda: not a.connected)
    with pytest.raises(Unavailable):
        await a.call(b.node, "api", b"", timeout=5)
    again = await nodes.peers(1)
    again.answer("api", echo)
    a.learn(b.node, [gone, again.address])
    assert await a.call(b.node, "api", b"hi", timeout=5) == b"hi"


async def test_the_address_that_worked_is_tried_first_from_then_on(nodes: Nodes) -> None:
    a, b, c = await nodes.peers(0), await nodes.peers(1), await nodes.peers(2)
    wrong = await nodes.wire(c)
    b.answer("api", echo)
    a.learn(b.node, [wrong.address, b.address])
    await a.call(b.node, "api", b"", timeout=5)
    assert len(wrong.recorded) == 1
    connection = a._links[b.node].connection
    assert connection
    connection.abort("the test breaks it")
    await until(lambda: not b.connected)
    await a.call(b.node, "api", b"", timeout=5)
    assert len(wrong.recorded) == 1


async def test_at_an_address_where_another_node_listens_nobody_is_reached(nodes: Nodes) -> None:
    a, b, c = await nodes.peers(0), await nodes.peers(1), await nodes.peers(2)
    c.answer("api", echo)
    a.learn(b.node, [c.address])
    with pytest.raises(Unavailable):
        await a.call(b.node, "api", b"for b only", timeout=5)
    assert not c.connected


async def test_messages_to_a_node_that_is_gone_are_dropped_and_counted(nodes: Nodes) -> None:
    a, b = await nodes.peers(0, bounds=Bounds(backlog=10)), await nodes.peers(1)
    a.learn(b.node, [b.address])
    await b.close()
    assert [a.send(b.node, "store", b"m") for _ in range(12)] == [True] * 10 + [False] * 2
    await until(lambda: a.dropped == 12)
    assert not a._links[b.node].waiting


async def test_who_takes_in_nothing_is_dropped_alone(nodes: Nodes) -> None:
    """A laggard's queue fills and is bounded; the others do not notice; in the end it is cut."""
    limits = Limits(queued_messages=50, ping_after=60 * SECOND, dead_after=120 * SECOND)
    a, b, c = (
        await nodes.peers(0, limits=limits, timing=Timing(stalled=0.3)),
        *([await nodes.peers(1), await nodes.peers(2)]),
    )
    wire = await nodes.wire(b)
    for one in (b, c):
        one.answer("api", echo)
    a.learn(b.node, [wire.address])
    a.learn(c.node, [c.address])
    await a.call(b.node, "api", b"", timeout=5)
    wire.freeze()
    sent = 0
    while a.send(b.node, "store", b"x" * 500_000):
        sent += 1
        assert await a.call(c.node, "api", b"quick", timeout=5) == b"quick"
        assert sent < 200
    await until(lambda: b.node not in a.connected)
    assert a.dropped > 0
    assert await a.call(c.node, "api", b"still", timeout=5) == b"still"


async def test_a_handler_that_fails_costs_only_its_message(
    nodes: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = await nodes.peers(0), await nodes.peers(1)
    a.learn(b.node, [b.address])
    heard: list[bytes] = []

    def fragile(sender: str, message: bytes) -> None:
        if message == b"bad":
            raise ZeroDivisionError
        heard.append(message)

    b.on_message("store", fragile)
    for message in (b"one", b"bad", b"two"):
        a.send(b.node, "store", message)
    await until(lambda: heard == [b"one", b"two"])
    assert "ZeroDivisionError" in caplog.text


async def test_an_answer_that_nobody_waits_for_is_not_worked_out(nodes: Nodes) -> None:
    a, b = await nodes.peers(0), await nodes.peers(1)
    a.learn(b.node, [b.address])
    given_up = asyncio.Event()

    async def long(sender: str, question: bytes) -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()
        return b""

    b.answer("api", long)
    with pytest.raises(Unavailable):
        await a.call(b.node, "api", b"", timeout=0.1)
    async with asyncio.timeout(5):
        await given_up.wait()


async def test_closing_leaves_no_task_and_no_connection_behind(nodes: Nodes) -> None:
    a, b = await nodes.peers(0), await nodes.peers(1)
    before = asyncio.all_tasks()
    a.learn(b.node, [b.address])

    async def hold(stream: Stream) -> None:
        await stream.receive()

    b.accept("logs", hold)
    stream = await a.open(b.node, "logs", timeout=5)
    await a.close()
    with pytest.raises(Unavailable):
        await stream.receive()
    await until(lambda: not b.connected)
    await until(lambda: asyncio.all_tasks() <= before)
    assert not a.send(b.node, "store", b"after")
    with pytest.raises(Unavailable):
        await a.call(b.node, "api", b"", timeout=5)
