"""The name server on loopback, asked by dnspython; upstreams are small servers of the test."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import dns.asyncquery
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from hivemind.drivers.dns.forwarder import Forwarder
from hivemind.drivers.dns.lookups import Lookups
from hivemind.drivers.dns.resolv_conf import ResolvConf, nameservers
from hivemind.drivers.dns.server import NameServer
from hivemind.errors import Conflict, Unavailable
from hivemind.protocols.dns.zone import Entry, Zone

pytestmark = pytest.mark.anyio
LOOPBACK = "127.0.0.1"
Reply = Callable[[dns.message.Message], bytes | None]


def zone(*ips: str) -> Zone:
    return Zone.build(
        Entry(project="default", app="web", slot=i, service="web.local", ip=ip, ready=True)
        for i, ip in enumerate(ips)
    )


class Upstream(asyncio.DatagramProtocol):
    """Answers by UDP and TCP with what a function of the test makes of each query."""

    def __init__(self, udp: Reply, tcp: Reply | None = None) -> None:
        self.udp, self.tcp = udp, tcp
        self.seen: list[dns.message.Message] = []
        self.ports: set[int] = set()
        self.asked = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, client: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        self.seen.append(query)
        self.asked.set()
        self.ports.add(client[1])
        reply = self.udp(query)
        if reply is not None:
            self.transport.sendto(reply, client)  # type: ignore[attr-defined]

    async def stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        query = dns.message.from_wire(await reader.readexactly(length))
        assert self.tcp is not None
        reply = self.tcp(query)
        if reply is not None:
            writer.write(struct.pack("!H", len(reply)) + reply)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def upstream(udp: Reply, tcp: Reply | None = None) -> AsyncIterator[tuple[Upstream, tuple[str, int]]]:
    loop = asyncio.get_running_loop()
    made = Upstream(udp, tcp)
    server = await asyncio.start_server(made.stream, LOOPBACK, 0)
    address = server.sockets[0].getsockname()[:2]
    transport, _ = await loop.create_datagram_endpoint(lambda: made, local_addr=address)
    try:
        yield made, address
    finally:
        transport.close()
        server.close()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def serving(
    *upstreams: tuple[str, int],
    timeout: float = 5.0,
    in_flight: int = 512,
    connections: int = 128,
    idle: float = 10.0,
) -> AsyncIterator[tuple[NameServer, int]]:
    server = NameServer(
        Forwarder(lambda: upstreams, timeout=timeout, in_flight=in_flight), connections=connections, idle=idle
    )
    port = await server.listen(LOOPBACK, 0)
    server.set_zone(zone("10.0.0.2"))
    troubles: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: troubles.append(context))
    try:
        yield server, port
    finally:
        await server.close()
        await asyncio.sleep(0)
        asyncio.get_running_loop().set_exception_handler(None)
    assert troubles == []


def reply_with(address: str) -> Reply:
    def reply(query: dns.message.Message) -> bytes:
        response = dns.message.make_response(query)
        response.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", address))
        return response.to_wire()

    return reply


def silent(query: dns.message.Message) -> None:
    return None


async def udp(name: str, port: int, type: str = "A") -> dns.message.Message:
    return await dns.asyncquery.udp(dns.message.make_query(name, type), LOOPBACK, port=port, timeout=10)


async def tcp(name: str, port: int, type: str = "A") -> dns.message.Message:
    return await dns.asyncquery.tcp(dns.message.make_query(name, type), LOOPBACK, port=port, timeout=10)


def found(message: dns.message.Message) -> list[str]:
    return [rdata.to_text() for rrset in message.answer for rdata in rrset]


async def test_it_answers_by_udp_and_tcp() -> None:
    async with serving() as (server, port):
        for ask in (udp, tcp):
            assert found(await ask("web.local", port)) == ["10.0.0.2"]
        assert (server.queries, server.forwarded, server.failures) == (2, 0, 0)


async def test_a_new_zone_counts_from_the_next_query_on() -> None:
    async with serving() as (server, port):
        for i in range(50):
            server.set_zone(zone(f"10.0.0.{i}"))
            assert found(await udp("web.local", port)) == [f"10.0.0.{i}"]
        server.set_zone(Zone.build())
        assert (await udp("web.default.hive", port)).rcode() == dns.rcode.NXDOMAIN


async def test_it_listens_on_several_addresses() -> None:
    async with serving() as (server, first):
        second = await server.listen("127.0.0.2", 0)
        assert server.addresses == {(LOOPBACK, first), ("127.0.0.2", second)}
        query = dns.message.make_query("web.local", "A")
        message = await dns.asyncquery.udp(query, "127.0.0.2", port=second, timeout=10)
        assert found(message) == ["10.0.0.2"]


async def test_a_large_answer_comes_whole_by_tcp() -> None:
    async with serving() as (server, port):
        server.set_zone(zone(*(f"10.0.1.{i}" for i in range(100))))
        query = dns.message.make_query("web.local", "A")
        message, by_tcp = await dns.asyncquery.udp_with_fallback(query, LOOPBACK, port=port, timeout=10)
        assert by_tcp
        assert len(found(message)) == 100


async def test_many_queries_on_one_connection() -> None:
    async with serving() as (server, port):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        queries = [dns.message.make_query("web.local", "A").to_wire() for _ in range(20)]
        writer.write(b"".join(struct.pack("!H", len(q)) + q for q in queries))
        for query in queries:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            assert (await reader.readexactly(length))[:2] == query[:2]
        writer.close()
        assert server.queries == 20


async def test_garbage_does_not_disturb() -> None:
    async with serving() as (_, port):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for data in (b"", b"x", os.urandom(100), b"\0" * 12):
                sock.sendto(data, (LOOPBACK, port))
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(b"\x00\x02hi")
        assert await reader.read() == b""
        writer.close()
        assert found(await udp("web.local", port)) == ["10.0.0.2"]


async def test_a_silent_connection_is_closed() -> None:
    async with serving(idle=0.05) as (_, port):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(b"\x00")
        assert await reader.read() == b""
        writer.close()


async def test_connections_are_bounded() -> None:
    async with serving(connections=1) as (_, port):
        first_reader, first = await asyncio.open_connection(LOOPBACK, port)
        query = dns.message.make_query("web.local", "A").to_wire()
        framed = struct.pack("!H", len(query)) + query
        first.write(framed)
        await first_reader.readexactly(2)
        reader, second = await asyncio.open_connection(LOOPBACK, port)
        assert await reader.read() == b""
        second.close()
        first.close()


async def test_other_names_are_forwarded() -> None:
    async with upstream(reply_with("192.0.2.1")) as (seen, address), serving(address) as (server, port):
        query = dns.message.make_query("example.com", "A")
        for _ in range(8):
            message = await dns.asyncquery.udp(query, LOOPBACK, port=port, timeout=10)
            assert message.id == query.id
            assert found(message) == ["192.0.2.1"]
        assert server.forwarded == 8
        assert len({asked.id for asked in seen.seen}) > 1
        assert len(seen.ports) > 1


async def test_what_upstream_says_is_passed_on() -> None:
    def denies(query: dns.message.Message) -> bytes:
        response = dns.message.make_response(query)
        response.set_rcode(dns.rcode.NXDOMAIN)
        return response.to_wire()

    async with upstream(denies) as (_, address), serving(address) as (server, port):
        assert (await udp("nope.example", port)).rcode() == dns.rcode.NXDOMAIN
        assert (server.forwarded, server.failures) == (1, 0)


async def test_replies_to_another_question_are_ignored() -> None:
    def confused(query: dns.message.Message) -> bytes:
        # First what an attacker would send, who guesses neither id nor question.
        wrong_id = dns.message.make_response(query)
        wrong_id.id ^= 1
        other = dns.message.make_query("evil.example", "A", id=query.id)
        for forged in (
            wrong_id.to_wire(),
            dns.message.make_response(other).to_wire(),
            query.to_wire(),
            b"junk",
        ):
            seen.transport.sendto(forged, (LOOPBACK, max(seen.ports)))  # type: ignore[attr-defined]
        return reply_with("192.0.2.7")(query) or b""

    async with upstream(confused) as (seen, address), serving(address) as (_, port):
        assert found(await udp("example.com", port)) == ["192.0.2.7"]


async def test_the_next_upstream_is_asked_when_one_is_silent_or_gone_or_refuses() -> None:
    def refuses(query: dns.message.Message) -> bytes:
        response = dns.message.make_response(query)
        response.set_rcode(dns.rcode.REFUSED)
        return response.to_wire()

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind((LOOPBACK, 0))
        nobody = gone.getsockname()
    async with (
        upstream(silent) as (_, mute),
        upstream(refuses) as (_, stern),
        upstream(reply_with("192.0.2.2")) as (_, good),
        serving(nobody, mute, stern, good, timeout=0.2) as (server, port),
    ):
        assert found(await udp("example.com", port)) == ["192.0.2.2"]
        assert server.failures == 0


async def test_no_upstream_is_a_quick_failure() -> None:
    async with serving() as (server, port):
        for ask in (udp, tcp):
            assert (await ask("example.com", port)).rcode() == dns.rcode.SERVFAIL
        assert server.failures == 2


async def test_silent_upstreams_end_in_a_failure() -> None:
    async with upstream(silent) as (seen, address), serving(address, timeout=0.05) as (server, port):
        assert (await udp("example.com", port)).rcode() == dns.rcode.SERVFAIL
        assert len(seen.seen) == 2
        assert server.failures == 1


async def test_forwarding_is_bounded() -> None:
    async with upstream(silent) as (seen, address), serving(address, in_flight=1, timeout=30) as (_, port):
        waiting = asyncio.ensure_future(udp("one.example", port))
        await seen.asked.wait()
        assert (await udp("two.example", port)).rcode() == dns.rcode.SERVFAIL
        assert found(await udp("web.local", port)) == ["10.0.0.2"]
        waiting.cancel()


async def test_our_own_addresses_are_no_upstreams() -> None:
    addresses: list[tuple[str, int]] = []
    server = NameServer(Forwarder(lambda: addresses))
    addresses.append((LOOPBACK, await server.listen(LOOPBACK, 0)))
    try:
        message = await udp("example.com", addresses[0][1])
        assert message.rcode() == dns.rcode.SERVFAIL
        assert server.queries == 1
    finally:
        await server.close()


async def test_truncated_replies_are_fetched_whole_for_tcp_clients() -> None:
    def cut(query: dns.message.Message) -> bytes:
        response = dns.message.make_response(query)
        response.flags |= dns.flags.TC
        return response.to_wire()

    async with upstream(cut, reply_with("192.0.2.3")) as (_, address), serving(address) as (_, port):
        message = await udp("example.com", port)
        assert message.flags & dns.flags.TC
        assert found(await tcp("example.com", port)) == ["192.0.2.3"]


async def test_an_upstream_that_hangs_up_is_a_failure() -> None:
    def cut(query: dns.message.Message) -> bytes:
        response = dns.message.make_response(query)
        response.flags |= dns.flags.TC
        return response.to_wire()

    async with upstream(cut, silent) as (_, address), serving(address) as (_, port):
        assert (await tcp("example.com", port)).rcode() == dns.rcode.SERVFAIL


async def test_a_taken_port_is_explained() -> None:
    async with serving() as (_, port):
        other = NameServer()
        with pytest.raises(Conflict, match=f"cannot listen on 127.0.0.1:{port}") as caught:
            await other.listen(LOOPBACK, port)
        assert "ss -lntup" in caught.value.hint
        assert not other.addresses


async def test_an_address_of_another_machine_is_explained() -> None:
    with pytest.raises(Unavailable, match="no such address"):
        await NameServer().listen("192.0.2.1", 0)


async def test_a_connection_that_has_just_begun_is_closed_too() -> None:
    server = NameServer(Forwarder(list))
    port = await server.listen(LOOPBACK, 0)
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    await server.close()
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()


async def test_closing_ends_everything() -> None:
    async with upstream(silent) as (seen, address):
        server = NameServer(Forwarder(lambda: [address], timeout=60))
        port = await server.listen(LOOPBACK, 0)
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        query = dns.message.make_query("example.com", "A").to_wire()
        writer.write(struct.pack("!H", len(query)) + query)
        await seen.asked.wait()
        await server.close()
        assert await reader.read() == b""
        writer.close()
        again = NameServer()
        assert await again.listen(LOOPBACK, port) == port
        await again.close()


def test_nameservers_are_read_from_resolv_conf() -> None:
    lines = ["# nameserver 192.0.2.9", "search x", "nameserver 192.0.2.1", "nameserver", "nameserver dns.lan"]
    text = "\n".join([*lines, " nameserver\t::1 ", "nameserver 192.0.2.1", ""])
    assert nameservers(text) == ["192.0.2.1", "::1"]


def test_resolv_conf_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    conf = ResolvConf(path)
    assert conf.upstreams() == ()
    path.write_text("nameserver 192.0.2.1\n")
    assert conf.upstreams() == (("192.0.2.1", 53),)
    new = tmp_path / "new"
    new.write_text("nameserver 192.0.2.2\n")
    new.rename(path)
    assert conf.upstreams() == (("192.0.2.2", 53),)
    path.unlink()
    assert conf.upstreams() == ()


async def test_it_remembers_by_what_name_a_client_knows_an_address() -> None:
    def aliased(query: dns.message.Message) -> bytes:
        response = dns.message.make_response(query)
        name, alias = query.question[0].name, dns.name.from_text("real.example.org")
        response.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", "real.example.org."))
        response.answer.append(dns.rrset.from_text(alias, 60, "IN", "A", "192.0.2.7"))
        return response.to_wire()

    async with upstream(aliased) as (_, address), serving(address) as (server, port):
        await dns.asyncquery.udp(
            dns.message.make_query("DB.example.org", "A"), LOOPBACK, port=port, timeout=5
        )
        assert server.name_of(LOOPBACK, "192.0.2.7") == "db.example.org"
        assert server.name_of("10.9.9.9", "192.0.2.7") == "192.0.2.7"
        assert server.name_of("10.9.9.9", "10.0.0.2") == "web.default.hive"


@pytest.mark.parametrize("reply", [b"", b"\0" * 12, b"\0" * 4 + b"\0\1\0\7" + b"\0" * 30, os.urandom(40)])
def test_a_reply_that_is_none_teaches_nothing(reply: bytes) -> None:
    lookups = Lookups()
    lookups.note("10.0.0.1", reply)
    assert lookups.name_of("10.0.0.1", "0.0.0.0") == ""


def test_no_client_fills_the_memory() -> None:
    lookups = Lookups()
    for number in range(10_000):
        query = dns.message.make_query(f"n{number}.example.org", "A")
        reply = reply_with(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")(query)
        assert reply
        lookups.note("10.0.0.1", reply)
    assert lookups.name_of("10.0.0.1", "10.0.0.1") == ""
    assert lookups.name_of("10.0.0.1", "10.0.39.15") == "n9999.example.org"
