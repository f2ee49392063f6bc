"""The HTTP client of the docker runtime, against servers that answer byte by byte what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hivemind.drivers.runtimes.docker import http
from hivemind.drivers.runtimes.docker.engine import Engine, refusal
from hivemind.errors import Conflict, Invalid, NotFound, Unavailable, Unsupported

pytestmark = pytest.mark.anyio
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(place: Path, answer: Answer) -> AsyncIterator[str]:
    async def each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_unix_server(each, str(place / "s"))
    try:
        yield str(place / "s")
    finally:
        server.close()


async def get(socket: str) -> http.Response:
    return await http.request(socket, "GET", "/", {})


def saying(*parts: bytes) -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)

    return answer


async def test_bodies_by_length_and_in_chunks(tmp_path: Path) -> None:
    plain = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Y: z\r\n\r\nhello"
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3\r\n, w\r\n0\r\n\r\n"
    for whole, wanted in ((plain, b"hello"), (chunked, b"hello, w")):
        for size in (1, 7, len(whole)):
            parts = [whole[at : at + size] for at in range(0, len(whole), size)]
            async with serving(tmp_path, saying(*parts)) as socket, await get(socket) as response:
                assert response.status == 200
                assert await response.read() == wanted
            (tmp_path / "s").unlink(missing_ok=True)


async def test_an_answer_that_breaks_off_is_no_whole_answer(tmp_path: Path) -> None:
    half = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
    async with serving(tmp_path, half) as socket, await get(socket) as response:
        with pytest.raises(ConnectionError):
            await response.read()


async def test_who_refuses_early_need_not_take_everything(tmp_path: Path) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 17\r\n\r\n" + b'{"message":"bad"}')
        await writer.drain()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 16)

    async with serving(tmp_path, refuse) as socket, asyncio.timeout(10):
        with pytest.raises(Invalid, match="bad"):
            async with Engine(socket).stream("POST", "/images/load", endless()):
                pass


async def test_what_was_to_be_sent_cannot_be_read(tmp_path: Path) -> None:
    """It is not the engine's fault, and is not said to be."""

    async def broken() -> AsyncIterator[bytes]:
        yield b"some"
        raise NotFound("the blob is gone")

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1 << 16):
            pass

    async with serving(tmp_path, wait) as socket, asyncio.timeout(10):
        with pytest.raises(NotFound, match="blob"):
            async with Engine(socket).stream("POST", "/images/load", broken()):
                pass


async def test_a_connection_is_taken_over_with_what_came_at_once(tmp_path: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nfirst")
        writer.write((await reader.read()).upper())
        await writer.drain()

    async with serving(tmp_path, echo) as socket, asyncio.timeout(10):
        connection = await Engine(socket).take_over("/exec/x/start")
        await connection.send(b"then")
        connection.end_sending()
        heard = b""
        while data := await connection.receive():
            heard += data
        connection.close()
        assert heard == b"firstTHEN"


async def test_what_is_no_engine_is_refused(tmp_path: Path) -> None:
    old = b'{"Version":"1.13","ApiVersion":"1.25"}'
    for body, why in ((b"<html>", "no docker engine"), (old, "too old")):
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        async with serving(tmp_path, saying(answer)) as socket:
            with pytest.raises(Unsupported, match=why):
                await Engine(socket).greet()
        (tmp_path / "s").unlink(missing_ok=True)
    async with serving(tmp_path, saying(b"SSH-2.0-OpenSSH\r\n")) as socket:
        with pytest.raises(Unavailable, match="no HTTP"):
            await Engine(socket).greet()


@pytest.mark.parametrize(
    ("offered", "spoken"), [("1.41", (1, 41)), ("1.44", (1, 44)), ("1.99", (1, 47)), ("2.0", (1, 47))]
)
async def test_the_newest_version_that_both_know(
    tmp_path: Path, offered: str, spoken: tuple[int, int]
) -> None:
    body = b'{"Version":"x","ApiVersion":"%b"}' % offered.encode()
    async with serving(
        tmp_path, saying(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    ) as socket:
        engine = Engine(socket)
        await engine.greet()
    assert engine.api == spoken


def test_refusals_in_the_hives_words() -> None:
    assert isinstance(refusal(404, b'{"message":"No such container: x"}'), NotFound)
    assert isinstance(refusal(409, b'{"message":"in use"}'), Conflict)
    assert isinstance(refusal(500, b'{"message":"write: no space left on device"}'), Unavailable)
    assert "room" in refusal(500, b'{"message":"write: no space left on device"}').message
    trail = (
        b'{"message":"failed to create shim task: OCI runtime create failed: runc create failed: unable to '
        b'start container process: exec: \\"x\\": executable file not found in $PATH: unknown"}'
    )
    found = refusal(400, trail)
    assert isinstance(found, Invalid)
    assert found.message == 'docker refuses: exec: "x": executable file not found in $PATH'
    assert isinstance(refusal(500, b"not JSON"), Unavailable)
