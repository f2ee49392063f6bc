"""What an allocation could not connect to, as the kernel saw it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from hivemind.drivers.network.routed import RoutedNetwork
from network_traffic import another_machine, ask_tcp, datagram_client, serve_tcp, within

pytestmark = [pytest.mark.anyio, pytest.mark.real]


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[RoutedNetwork]:
    network = RoutedNetwork("ab" * 32, tmp_path / "state", tmp_path / "run")
    await network.open()
    yield network
    await network.close()


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[str]:
    """Another machine, 192.0.2.9: port 81 drops, 82 is filtered, 83 is reset by its filter, 84 is served by no one."""
    rules = "tcp dport 81 drop; tcp dport 82 reject with icmp type host-prohibited;"
    rules += " tcp dport 83 reject with tcp reset"
    with another_machine(tmp_path / "outside", rules=rules) as pin:
        yield pin


def knock(path: str, address: str, port: int, patience: float = 5.0) -> str:
    """The name of what went wrong; empty: nothing."""

    def connect() -> str:
        with socket.socket() as client:
            client.settimeout(patience)
            try:
                client.connect((address, port))
            except OSError as error:
                return type(error).__name__
        return ""

    return within(path, connect)


async def test_each_way_of_not_being_reached_is_told_apart(network: RoutedNetwork, outside: str) -> None:
    here = await network.attach("asker", [])
    assert knock(here.netns, "192.0.2.9", 84) == "ConnectionRefusedError"
    assert knock(here.netns, "192.0.2.9", 83) == "ConnectionRefusedError"
    assert knock(here.netns, "192.0.2.9", 82)
    assert knock(here.netns, "198.51.100.7", 5432)  # nobody knows a way there
    assert knock(here.netns, "192.0.2.9", 81, 1.5) == "TimeoutError"
    assert await network.unreachable("asker") == (
        "192.0.2.9:81 silent",
        "192.0.2.9:82 unreachable",
        "192.0.2.9:83 refused",
        "192.0.2.9:84 refused",
        "198.51.100.7:5432 unreachable",
    )


async def test_who_answers_after_all_is_not_held_against(network: RoutedNetwork) -> None:
    asker, server = await network.attach("asker", []), await network.attach("server", ["80/tcp"])
    assert knock(asker.netns, server.ip, 80) == "ConnectionRefusedError"
    assert await network.unreachable("asker") == (f"{server.ip}:80 refused",)
    listening = await serve_tcp(server, 80)
    assert await ask_tcp(server.ip, 80, asker.netns) == "server"
    assert await network.unreachable("asker") == ()
    listening.close()
    await listening.wait_closed()


async def test_the_node_itself_may_refuse(network: RoutedNetwork) -> None:
    asker = await network.attach("asker", [])
    assert knock(asker.netns, network.dns_address, 99) == "ConnectionRefusedError"
    assert await network.unreachable("asker") == (f"{network.dns_address}:99 refused",)


async def test_neither_a_first_try_nor_datagrams_nor_resets_of_what_was_open_count(
    network: RoutedNetwork, outside: str
) -> None:
    asker, server = await network.attach("asker", []), await network.attach("server", ["80/tcp"])
    assert (
        knock(asker.netns, "192.0.2.9", 81, 0.2) == "TimeoutError"
    )  # asked once: it may just have been slow
    datagrams = datagram_client("192.0.2.9", 84, asker.netns)
    datagrams.send(b"x")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.wait_for(asyncio.get_running_loop().sock_recv(datagrams, 10), 5)
    datagrams.close()
    listener = within(server.netns, lambda: socket.create_server((server.ip, 80)))
    client = within(asker.netns, lambda: socket.create_connection((server.ip, 80)))
    accepted, _ = listener.accept()
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    accepted.close()  # with a reset
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    client.close()
    listener.close()
    assert await network.unreachable("asker") == ()


async def test_everyone_has_failures_of_their_own_and_addresses_come_clean(network: RoutedNetwork) -> None:
    first, second = await network.attach("first", []), await network.attach("second", [])
    knock(first.netns, network.dns_address, 98)
    knock(second.netns, network.dns_address, 99)
    assert await network.unreachable("first") == (f"{network.dns_address}:98 refused",)
    assert await network.unreachable("second") == (f"{network.dns_address}:99 refused",)
    assert await network.unreachable("nobody") == ()
    await network.detach("first")
    assert network._firewall.unreachable(IPv4Address(first.ip)) == []
    assert await network.unreachable("second") == (f"{network.dns_address}:99 refused",)


async def test_names_stand_for_addresses_where_they_are_known(network: RoutedNetwork) -> None:
    asker = await network.attach("asker", [])
    network.name_of = lambda client, address: "db.local" if client == asker.ip else address
    knock(asker.netns, network.dns_address, 99)
    assert await network.unreachable("asker") == ("db.local:99 refused",)


async def test_a_daemon_that_starts_again_still_knows(network: RoutedNetwork, tmp_path: Path) -> None:
    asker = await network.attach("asker", [])
    knock(asker.netns, network.dns_address, 99)
    await network.close()
    again = RoutedNetwork("ab" * 32, tmp_path / "state", tmp_path / "run")
    await again.open()
    assert await again.unreachable("asker") == (f"{again.dns_address}:99 refused",)
    await again.close()
