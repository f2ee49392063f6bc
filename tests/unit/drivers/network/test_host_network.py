"""The host network's proxy and forwarder under what real clients and backends do to them."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from hivemind.drivers.network.contract import Backend, Published
from hivemind.drivers.network.host import HostNetwork
from hivemind.errors import Corrupt, Invalid
from network_traffic import ask_udp, datagram_client

pytestmark = pytest.mark.anyio

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[HostNetwork]:
    network = HostNetwork(tmp_path)
    await network.open()
    yield network
    await network.close()


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Handler], Awaitable[Backend]]]:
    servers: list[asyncio.Server] = []

    async def start(handler: Handler) -> Backend:
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        servers.append(server)
        ip, port = server.sockets[0].getsockname()
        return (ip, port)

    yield start
    for server in servers:
        server.close()


def unused(kind: int = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Only after the client's end of input does it answer: needs the half-close to be passed on."""
    writer.write(await reader.read())
    await writer.drain()
    writer.close()


async def test_much_data_arrives_whole_both_ways_after_a_half_close(network, serve) -> None:
    port = Published("tcp", unused())
    assert await network.publish({port: (await serve(echo),)}) == {}
    reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
    sent = bytes(range(256)) * (4 << 10)
    writer.write(sent)
    writer.write_eof()
    assert await reader.read() == sent
    writer.close()


async def test_a_dead_backend_is_skipped(network, serve) -> None:
    port = Published("tcp", unused())
    dead = ("127.0.0.1", unused())
    await network.publish({port: (dead, await serve(echo))})
    for _ in range(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
        writer.write(b"x")
        writer.write_eof()
        assert await reader.read() == b"x"
        writer.close()


async def test_when_every_backend_is_dead_the_client_is_reset(network) -> None:
    port = Published("tcp", unused())
    await network.publish({port: (("127.0.0.1", unused()),)})
    reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.transport.abort()


async def test_a_reset_is_passed_on(network, serve) -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        writer.transport.abort()

    port = Published("tcp", unused())
    await network.publish({port: (await serve(break_off),)})
    reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
    writer.write(b"x")
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.transport.abort()


async def test_a_slow_backend_slows_the_client_instead_of_filling_memory(network, serve) -> None:
    finish = asyncio.Event()

    async def idle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await finish.wait()
        writer.close()

    port = Published("tcp", unused())
    await network.publish({port: (await serve(idle),)})
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", port.port))
        accepted = 0
        with pytest.raises(TimeoutError):
            while accepted < 256 << 20:
                await asyncio.wait_for(loop.sock_sendall(client, bytes(1 << 20)), 0.5)
                accepted += 1 << 20
        assert accepted < 64 << 20
    finish.set()


async def test_live_connections_spread_evenly(network, serve) -> None:
    seen: Counter[str] = Counter()
    finish = asyncio.Event()

    async def named(name: str) -> Backend:
        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen[name] += 1
            writer.write(b"!")
            await finish.wait()
            writer.close()

        return await serve(greet)

    port = Published("tcp", unused())
    await network.publish({port: tuple([await named(name) for name in "abc"])})
    writers = []
    for _ in range(12):
        reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
        assert await reader.readexactly(1) == b"!"
        writers.append(writer)
    assert seen == {"a": 4, "b": 4, "c": 4}
    finish.set()
    for writer in writers:
        writer.close()


class _Answer(asyncio.DatagramProtocol):
    def __init__(self, name: bytes) -> None:
        self.name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(self.name + b" " + data, addr)  # type: ignore[attr-defined]


async def test_datagrams_of_many_clients_do_not_mix_and_leave_a_dead_backend(network) -> None:
    loop = asyncio.get_running_loop()
    backends = []
    transports = []
    for name in (b"a", b"b"):
        transport, _ = await loop.create_datagram_endpoint(
            lambda name=name: _Answer(name), local_addr=("127.0.0.1", 0)
        )
        transports.append(transport)
        backends.append(transport.get_extra_info("sockname"))
    port = Published("udp", unused(socket.SOCK_DGRAM))
    await network.publish({port: tuple(backends)})
    clients = [datagram_client("127.0.0.1", port.port) for _ in range(10)]
    answers = await asyncio.gather(*(ask_udp(c, f"w{n}".encode()) for n, c in enumerate(clients)))
    assert Counter(answers) == {"a": 5, "b": 5}
    await network.publish({port: (backends[1],)})
    transports[0].close()
    assert set(await asyncio.gather(*(ask_udp(client) for client in clients))) == {"b"}
    for client in clients:
        client.close()
    transports[1].close()


async def test_an_address_that_is_not_ours_is_a_reason_not_a_crash(tmp_path: Path) -> None:
    network = HostNetwork(tmp_path, bind="192.0.2.77")
    await network.open()
    port = Published("tcp", unused())
    reasons = await network.publish({port: ()})
    assert "cannot be opened: Cannot assign requested address" in reasons[port]
    await network.close()


async def test_a_bind_that_is_no_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="not an IPv4 address"):
        await HostNetwork(tmp_path, bind="everywhere").open()


async def test_a_torn_record_is_reported_by_name(tmp_path: Path) -> None:
    network = HostNetwork(tmp_path)
    await network.open()
    await network.attach("a", ["80/tcp"])
    record = tmp_path / "attachments" / "a.json"
    record.write_bytes(record.read_bytes()[:-4])
    with pytest.raises(Corrupt, match=r"a\.json"):
        await HostNetwork(tmp_path).open()


async def test_given_ports_are_below_those_of_outgoing_connections(network) -> None:
    one = await network.attach("a", ["80/tcp", "80/udp", "443/tcp"])
    assert len(set(one.ports.values())) == 3
    assert all(20000 <= port < 32000 for port in one.ports.values())


async def test_destroying_needs_no_opening_and_nothing_to_destroy(tmp_path: Path) -> None:
    await HostNetwork(tmp_path / "never").destroy()
    network = HostNetwork(tmp_path)
    await network.open()
    await network.attach("a", ["80/tcp"])
    await network.close()
    await HostNetwork(tmp_path).destroy()
    assert list(tmp_path.iterdir()) == []
