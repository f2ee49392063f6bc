"""A connection without a socket: what it writes, and when."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hivemind.protocols.mux.limits import Limits
from hivemind.protocols.noise.channel import Channel
from hivemind.security.identity import Identity
from hivemind.transport.connection import Connection, Timing
from hivemind.transport.services import Services

pytestmark = pytest.mark.anyio
A, B = Identity(b"a" * 32), Identity(b"b" * 32)


class Pipe(asyncio.Transport):
    """Keeps what was written until it is carried."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if data:
            self.writes.append(bytes(data))

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        pass


class Side:
    """A connection and who owns it."""

    def __init__(self, identity: Identity, remote: str | None) -> None:
        self.served = Services()
        self.heard: list[bytes] = []
        self.pipe = Pipe()
        self.arrivals = memoryview(bytearray(65_536))
        channel = Channel(
            identity.seed,
            identity.public,
            "hive",
            initiator=remote is not None,
            ephemeral=identity.seed,
            remote=remote,
        )
        self.connection = Connection(
            self,
            channel,
            arrivals=self.arrivals,
            dialed=remote is not None,
            limits=Limits(),
            timing=Timing(),
        )
        self.served.on_message("store", lambda sender, message: self.heard.append(message))

    def take(self, *data: bytes) -> None:
        for one in data:
            into = self.connection.get_buffer(-1)
            into[: len(one)] = one
            self.connection.buffer_updated(len(one))

    def arrived(self, connection: Connection) -> None: ...

    def services(self, connection: Connection) -> Services:
        return self.served

    def permits(self, connection: Connection) -> bool:
        return True

    def greeted(self, connection: Connection) -> bool:
        return True

    def opened(self, connection: Connection) -> None: ...

    def closed(self, connection: Connection) -> None: ...


def carry(one: Side, other: Side) -> int:
    """In how many pieces it came."""
    writes, one.pipe.writes = one.pipe.writes, []
    other.take(*writes)
    return len(writes)


async def connected() -> tuple[Side, Side]:
    a, b = Side(A, B.public), Side(B, None)
    for side in (a, b):
        side.connection.connection_made(side.pipe)
    while carry(a, b) or carry(b, a):
        pass
    for side in (a, b):
        async with asyncio.timeout(5):
            await side.connection.settled()
    return a, b


def echo(side: Side) -> None:
    def back(sender: str, message: bytes) -> None:
        assert side.connection.send("store", message)

    side.served.on_message("echo", back)


async def turn() -> None:
    await asyncio.sleep(0)


@pytest.fixture
async def sides() -> Any:
    a, b = await connected()
    yield a, b
    for side in (a, b):
        side.connection.abort("the test has ended")


@pytest.mark.parametrize("size", [1, 2, 7, 300, 65_536])
async def test_it_does_not_matter_how_what_came_is_cut(size: int) -> None:
    """From the first byte of the handshake on."""
    a, b = Side(A, B.public), Side(B, None)

    def carry_cut(one: Side, other: Side) -> bool:
        said, one.pipe.writes = b"".join(one.pipe.writes), []
        other.take(*(said[at : at + size] for at in range(0, len(said), size)))
        return bool(said)

    for side in (a, b):
        side.connection.connection_made(side.pipe)
    while carry_cut(a, b) or carry_cut(b, a):
        pass
    said = [b"", b"1", bytes(300), b"2" * 40_000, b"3"]
    for message in said:
        assert a.connection.send("store", message)
    await turn()
    carry_cut(a, b)
    assert b.heard == said
    for side in (a, b):
        side.connection.abort("the test has ended")


async def test_what_is_said_in_one_turn_of_the_loop_is_written_at_once(sides: tuple[Side, Side]) -> None:
    a, b = sides
    said = [bytes([number]) * 300 for number in range(6)]
    for message in said:
        assert a.connection.send("store", message)
    assert not a.pipe.writes
    await turn()
    assert len(a.pipe.writes) == 1
    carry(a, b)
    assert b.heard == said


async def test_what_is_said_to_what_came_is_written_before_anything_else_happens(
    sides: tuple[Side, Side],
) -> None:
    a, b = sides
    echo(b)
    for message in (b"1", b"2", b"3"):
        a.connection.send("echo", message)
    await turn()
    assert carry(a, b) == 1
    assert len(b.pipe.writes) == 1, "there was no turn in between"
    carry(b, a)
    assert a.heard == [b"1", b"2", b"3"]
    await turn()
    assert not b.pipe.writes


async def test_what_was_said_before_goes_out_before_what_is_said_to_what_came(
    sides: tuple[Side, Side],
) -> None:
    a, b = sides
    echo(b)
    a.connection.send("echo", b"second")
    await turn()
    b.connection.send("store", b"first")
    carry(a, b)
    await turn()
    carry(b, a)
    assert a.heard == [b"first", b"second"]


async def test_who_cannot_write_answers_when_it_can(sides: tuple[Side, Side]) -> None:
    a, b = sides
    echo(b)
    b.connection.pause_writing()
    a.connection.send("echo", b"later")
    await turn()
    carry(a, b)
    await turn()
    assert not b.pipe.writes
    b.connection.resume_writing()
    await turn()
    carry(b, a)
    assert a.heard == [b"later"]


async def test_a_handler_that_cuts_its_connection_hears_no_more(sides: tuple[Side, Side]) -> None:
    a, b = sides
    heard: list[bytes] = []

    def cut(sender: str, message: bytes) -> None:
        heard.append(message)
        b.connection.send("store", b"an answer")
        b.connection.abort("that is enough")

    b.served.on_message("cut", cut)
    a.connection.send("cut", b"1")
    await turn()
    carry(a, b)
    assert heard == [b"1"] and b.pipe.aborted and not b.pipe.writes
    await turn()
    assert not b.pipe.writes
