"""Probes against small servers on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import pytest
from msgspec.structs import replace

from hivemind.agent.health import OUTPUT, Health, Result
from hivemind.agent.probes import Prober
from hivemind.agent.target import Target
from hivemind.errors import Invalid, Unavailable
from hivemind.model.check import Check, CommandProbe, HttpProbe, Probe, TcpProbe

pytestmark = pytest.mark.anyio
LOOPBACK = "127.0.0.1"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[int]:
    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(served, LOOPBACK, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def saying(response: bytes, requests: list[bytes] | None = None) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if requests is not None:
            requests.append(request)
        writer.write(response)
        await writer.drain()

    return handler


async def no_exec(arguments: tuple[str, ...]) -> tuple[int, str]:
    raise AssertionError("no command was to be run")


def target(
    exec: Callable[..., Awaitable[tuple[int, str]]] = no_exec,
    now: Callable[[], float] = time.monotonic,
    doing: str = "",
    **more: object,
) -> Target:
    async def explain() -> str:
        return doing

    return Target(id="a", ip=LOOPBACK, run=exec, now=now, explain=explain, **more)  # type: ignore[arg-type]


async def probe(
    what: Probe, *, timeout: float = 10.0, exec: Callable[..., Awaitable[tuple[int, str]]] = no_exec
) -> Result:
    found = await Prober(Check(probe=what, timeout=timeout), target(exec)).probe()
    assert 0 <= found.latency <= timeout + 5
    return replace(found, latency=0.0)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        return int(sock.getsockname()[1])


@pytest.mark.parametrize(
    ("status", "ok"),
    [("200 OK", True), ("204 No Content", True), ("302 Found", True), ("399 Odd", True), ("200", True),
     ("400 Bad Request", False), ("404 Not Found", False), ("503 Service Unavailable", False)],
)  # fmt: skip
async def test_http_status_decides(status: str, ok: bool) -> None:
    async with listening(saying(f"HTTP/1.1 {status}\r\nLocation: /elsewhere\r\n\r\n".encode())) as port:
        result = await probe(HttpProbe(path="/healthz", port=port))
    assert result == Result(ok, f"GET http://127.0.0.1:{port}/healthz: {status}")


async def test_the_request_is_well_formed() -> None:
    requests: list[bytes] = []
    async with listening(saying(b"HTTP/1.0 200 OK\r\n\r\n", requests)) as port:
        assert (await probe(HttpProbe(path="/a b\r\nX: y?q=1#part", port=port))).ok
    lines = requests[0].decode().split("\r\n")
    assert lines[0] == "GET /a%20b%0D%0AX:%20y?q=1 HTTP/1.1"
    assert f"Host: 127.0.0.1:{port}" in lines
    assert "Connection: close" in lines


async def test_interim_responses_are_stepped_over() -> None:
    response = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 500 Broken\r\n\r\n"
    async with listening(saying(response)) as port:
        result = await probe(HttpProbe(port=port))
    assert not result.ok
    assert result.output.endswith("500 Broken")


async def test_an_endless_body_does_not_matter() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async with listening(handler) as port:
        assert (await probe(HttpProbe(port=port))).ok


@pytest.mark.parametrize(
    ("response", "says"),
    [(b"", "closed without a response"), (b"HTTP/1.1 2", "closed in the middle"),
     (b"220 smtp ready\r\n", "not an HTTP"), (b"HTTP/1.1 abc\r\n", "not an HTTP"), (b"x" * 100_000, "not an HTTP")],
)  # fmt: skip
async def test_what_is_not_http_is_unhealthy(response: bytes, says: str) -> None:
    async with listening(saying(response)) as port:
        result = await probe(HttpProbe(port=port))
    assert not result.ok
    assert says in result.output


@pytest.mark.parametrize("kind", [HttpProbe, TcpProbe])
async def test_a_closed_port_is_unhealthy(kind: type[HttpProbe] | type[TcpProbe]) -> None:
    port = free_port()
    result = await probe(kind(port=port))
    assert not result.ok
    assert f"127.0.0.1:{port}" in result.output
    assert result.output.endswith(": Connection refused")


async def test_silence_is_unhealthy() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(handler) as port:
        result = await probe(HttpProbe(port=port), timeout=0.05)
    assert result == Result(False, f"GET http://127.0.0.1:{port}/: no answer within 50ms", timed_out=True)


async def test_tcp_needs_only_to_be_accepted() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(handler) as port:
        assert (await probe(TcpProbe(port=port))).ok


async def test_a_command_is_judged_by_its_exit_code() -> None:
    seen = []

    async def run(arguments: tuple[str, ...]) -> tuple[int, str]:
        seen.append(arguments)
        return (0, "all good\n") if arguments == ("true",) else (3, "")

    assert await probe(CommandProbe(command=("true",)), exec=run) == Result(True, "all good")
    assert await probe(CommandProbe(command=("test", "-f", "/x")), exec=run) == Result(
        False, "test -f /x: exit code 3"
    )
    assert seen == [("true",), ("test", "-f", "/x")]


async def test_a_commands_output_is_bounded() -> None:
    async def run(arguments: tuple[str, ...]) -> tuple[int, str]:
        return 1, "x" * 100_000 + "end"

    result = await probe(CommandProbe(command=("noisy",)), exec=run)
    assert len(result.output) == OUTPUT
    assert result.output.endswith("end")


async def test_a_command_that_hangs_is_ended() -> None:
    ended = asyncio.Event()

    async def run(arguments: tuple[str, ...]) -> tuple[int, str]:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return 0, ""

    result = await probe(CommandProbe(command=("sleep", "9")), exec=run, timeout=0.05)
    assert result == Result(False, "sleep 9: no answer within 50ms", timed_out=True)
    assert ended.is_set()


async def test_a_command_that_cannot_be_run_is_unhealthy() -> None:
    async def run(arguments: tuple[str, ...]) -> tuple[int, str]:
        raise Unavailable("the container does not run")

    assert await probe(CommandProbe(command=("x",)), exec=run) == Result(
        False, "x: the container does not run"
    )


async def test_a_defect_is_not_taken_for_bad_health() -> None:
    with pytest.raises(AssertionError):
        await probe(CommandProbe(command=("x",)))


async def test_the_first_declared_port_is_used_where_it_answers() -> None:
    async with listening(saying(b"HTTP/1.1 200 OK\r\n\r\n")) as port:
        prober = Prober(Check(probe=HttpProbe()), target(ports={"80/tcp": port}, declared=(80, 443)))
        assert (await prober.probe()).ok


async def test_no_port_at_all_is_refused_at_once() -> None:
    with pytest.raises(Invalid, match="names no port"):
        Prober(Check(probe=TcpProbe()), target())


async def test_a_clock_that_is_set_back_does_not_stop_the_probing() -> None:
    times = iter([1_000_000.0, 0.0, 0.0, 0.0, 0.0, 0.0])

    async def run(arguments: tuple[str, ...]) -> tuple[int, str]:
        return 0, ""

    check = Check(probe=CommandProbe(command=("x",)), interval=0.01)
    async with (
        asyncio.timeout(30),
        aclosing(Prober(check, target(run, lambda: next(times))).results()) as found,
    ):
        health, result = await anext(found)
    assert health.ready and result.latency == 0


async def test_it_probes_on_and_tells_every_change() -> None:
    answers = iter([1, 1, 0, 0])
    seen: list[Health] = []

    async def run(arguments: tuple[str, ...]) -> tuple[int, str]:
        return next(answers), ""

    check = Check(probe=CommandProbe(command=("x",)), interval=0.0, retries=2)
    clock = asyncio.get_running_loop().time
    async with aclosing(Prober(check, target(run, clock)).results(offset=0.01)) as found:
        async for health, _ in found:
            seen.append(health)
            if len(seen) == 4:
                break
    assert [h.status for h in seen] == ["starting", "failing", "passing", "passing"]
    assert seen[0].started + 0.01 <= seen[0].due
