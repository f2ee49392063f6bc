"""Probes against small servers on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import msgspec
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded
from msgspec.structs import replace

from hivemind.agent.checks.health import OUTPUT, Health, Result
from hivemind.agent.checks.probes import Prober
from hivemind.agent.checks.target import Target
from hivemind.errors import Invalid, Unavailable
from hivemind.model.check import Check, CommandProbe, GrpcProbe, HttpProbe, Probe, TcpProbe

pytestmark = pytest.mark.anyio
LOOPBACK = "127.0.0.1"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(served, LOOPBACK, 0, ssl=tls)
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


# -- HTTPS ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """Signed by itself, for a name that nobody asks for."""
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out cert.pem"
    subprocess.run(
        [*command.split(), "-days", "2", "-subj", "/CN=elsewhere.example"], cwd=folder, check=True,
        capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


async def test_https_takes_any_certificate(certificate: ssl.SSLContext) -> None:
    requests: list[bytes] = []
    handler = saying(b"HTTP/1.1 200 OK\r\n\r\n", requests)
    async with listening(handler, certificate) as port:
        result = await probe(HttpProbe(path="/up", port=port, scheme="https", headers={"host": "shop:1"}))
    assert result == Result(True, f"GET https://127.0.0.1:{port}/up: 200 OK")
    assert b"\r\nHost: shop:1\r\n" in requests[0]


async def test_https_against_a_plain_server_is_unhealthy() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with listening(handler) as port:
        result = await probe(HttpProbe(port=port, scheme="https"), timeout=5)
    assert (result.ok, result.timed_out) == (False, False)
    assert result.output == f"GET https://127.0.0.1:{port}/: TLS: wrong version number"


async def test_headers_are_sent() -> None:
    requests: list[bytes] = []
    async with listening(saying(b"HTTP/1.1 200 OK\r\n\r\n", requests)) as port:
        assert (await probe(HttpProbe(port=port, headers={"x-probe": "yes", "USER-AGENT": "me"}))).ok
    lines = requests[0].decode().split("\r\n")
    assert {"X-Probe: yes", "User-Agent: me"} <= set(lines)
    assert sum(line.lower().startswith("user-agent") for line in lines) == 1


@pytest.mark.parametrize("headers", [{"X\r\nY": "1"}, {"X": "1\r\nY: 2"}, {"": "1"}, {"X Y": "1"}])
def test_headers_that_would_break_the_request_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"kind": "http", "headers": headers}, HttpProbe)


# -- gRPC ----------------------------------------------------------------------------------------------------


class HealthServer:
    """A small real gRPC server that knows `grpc.health.v1.Health/Check` of some services."""

    def __init__(self, states: dict[str, int], *, implemented: bool = True) -> None:
        self._states = states
        self._implemented = implemented

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        http.initiate_connection()
        path, body = "", b""
        while True:
            writer.write(http.data_to_send())
            await writer.drain()
            if not (chunk := await reader.read(65536)):
                return
            for event in http.receive_data(chunk):
                if isinstance(event, RequestReceived):
                    path = dict(event.headers)[":path"]  # type: ignore[arg-type,assignment]
                elif isinstance(event, DataReceived):
                    body += event.data
                elif isinstance(event, StreamEnded):
                    self._answer(http, event.stream_id, path, body)

    def _answer(self, http: H2Connection, stream: int, path: str, body: bytes) -> None:
        head = [(":status", "200"), ("content-type", "application/grpc")]
        assert body[0] == 0
        assert int.from_bytes(body[1:5], "big") == len(body) - 5
        # One byte of tag, then the length: two bytes from 128 on.
        service = body[8 if len(body) > 6 and body[6] > 127 else 7 :].decode()
        if path != "/grpc.health.v1.Health/Check" or not self._implemented:
            http.send_headers(stream, [*head, ("grpc-status", "12"), ("grpc-message", "no")], end_stream=True)
        elif service not in self._states:
            http.send_headers(stream, [*head, ("grpc-status", "5")], end_stream=True)
        else:
            state = self._states[service]
            message = bytes((8, state)) if state else b""
            http.send_headers(stream, head)
            http.send_data(stream, b"\0" + len(message).to_bytes(4, "big") + message)
            http.send_headers(stream, [("grpc-status", "0")], end_stream=True)


@pytest.mark.parametrize(
    ("service", "ok", "says"),
    [
        ("", True, "SERVING"),
        ("db.v1.Store", False, "NOT_SERVING"),
        ("new", False, "UNKNOWN"),
        ("x" * 300, False, "NOT_SERVING"),
        ("other", False, "it does not know that service"),
    ],
)
async def test_grpc_health(service: str, ok: bool, says: str) -> None:
    server = HealthServer({"": 1, "db.v1.Store": 2, "new": 0, "x" * 300: 2})
    async with listening(server) as port:
        result = await probe(GrpcProbe(port=port, service=service))
    assert (result.ok, result.output.rpartition(": ")[2]) == (ok, says)


async def test_grpc_without_health_is_said_so() -> None:
    async with listening(HealthServer({}, implemented=False)) as port:
        result = await probe(GrpcProbe(port=port))
    assert not result.ok
    assert (
        result.output
        == f"gRPC health of the server at 127.0.0.1:{port}: it does not implement grpc.health.v1"
    )


@pytest.mark.parametrize("response", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 100, b""])
async def test_what_speaks_no_http2_is_unhealthy(response: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(response)
        await writer.drain()

    async with listening(handler) as port:
        result = await probe(GrpcProbe(port=port), timeout=5)
    assert not result.ok
    assert not result.timed_out


async def test_a_grpc_server_that_says_nothing_times_out() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(handler) as port:
        assert (await probe(GrpcProbe(port=port), timeout=0.05)).timed_out


# -- slow and hung -------------------------------------------------------------------------------------------


async def test_a_probe_without_an_answer_tells_what_the_processes_do() -> None:
    async def run(arguments: tuple[str, ...]) -> tuple[int, str]:
        await asyncio.Event().wait()
        return 0, ""

    check = Check(probe=CommandProbe(command=("x",)), timeout=0.02)
    result = await Prober(check, target(run, doing="its processes are stopped")).probe()
    assert result.output == "x: no answer within 20ms; its processes are stopped"
    assert result.outcome(0.02) == "timeout"


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        (Result(True, latency=0.9), "passed"),
        (Result(True, latency=1.1), "slow"),
        (Result(False, latency=0.1), "failed"),
        (Result(False, latency=2.0, timed_out=True), "timeout"),
    ],
)
def test_an_answer_is_told_from_a_slow_one_and_from_none(result: Result, outcome: str) -> None:
    assert result.outcome(2.0) == outcome
