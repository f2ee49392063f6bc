"""The routed network on the real kernel, each test in namespaces of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from hivemind.drivers.network import conntrack
from hivemind.drivers.network.contract import Published
from hivemind.drivers.network.nftables import Nft, NftError
from hivemind.drivers.network.routed import RoutedNetwork
from hivemind.errors import Conflict, Invalid, Unavailable, Unsupported
from network_traffic import (
    another_machine,
    ask_tcp,
    ask_udp,
    connect,
    datagram_client,
    serve_tcp,
    serve_udp,
    within,
)

pytestmark = [pytest.mark.anyio, pytest.mark.real]

NODE = "ab" * 32
TABLE = "ip hivemind_abababab"
PUBLIC = Published("tcp", 8080)


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def life(tmp_path: Path, *, subnet: str = "auto") -> RoutedNetwork:
    return RoutedNetwork(NODE, tmp_path / "state", tmp_path / "run", subnet=subnet)


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[RoutedNetwork]:
    network = life(tmp_path)
    await network.open()
    yield network
    await network.close()


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[str]:
    with another_machine(tmp_path / "outside") as pin:
        yield pin


def traces() -> dict[str, object]:
    """Everything of the namespace that a network could leave behind."""
    links = {link["ifname"] for link in json.loads(run("ip", "-j", "link"))}
    return {
        "links": links,
        "routes": run("ip", "route", "show", "table", "all", "type", "unicast"),
        "addresses": run("ip", "-4", "-o", "address"),
        "rules": run("nft", "list", "ruleset"),
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
    }


def pins(tmp_path: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4] for line in lines if str(tmp_path) in line and "nsfs" in line]


async def until(condition: Callable[[], bool], what: str) -> None:
    """For what the kernel does in its own time, such as taking namespaces apart."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.01)


def own_links() -> set[str]:
    return {link["ifname"] for link in json.loads(run("ip", "-j", "link")) if link["ifname"].startswith("hm")}


async def test_balance_over_three_from_everywhere(network: RoutedNetwork, outside: str) -> None:
    made = [await network.attach(f"a{n}", ["80/tcp"]) for n in range(3)]
    for one in made:
        await serve_tcp(one, 80)
    await network.publish({PUBLIC: tuple((one.ip, 80) for one in made)})
    Path("/proc/sys/net/ipv4/conf/all/rp_filter").write_text("1")  # Strict, as some distributions have it.
    callers = {
        "the node by loopback": ("127.0.0.1", ""),
        "the node by another loopback address": ("127.0.0.2", ""),
        "the node by its address": ("192.0.2.1", ""),
        "another machine": ("192.0.2.1", outside),
        "a container by the node's address": (network.dns_address, made[0].netns),
        "a container by the machine's address": ("192.0.2.1", made[1].netns),
    }
    for caller, (address, namespace) in callers.items():
        answers = Counter([await ask_tcp(address, 8080, namespace) for _ in range(45)])
        assert set(answers) == {"a0", "a1", "a2"}, caller


async def test_containers_reach_each_other_and_the_outside(network: RoutedNetwork, outside: str) -> None:
    one, two = await network.attach("one", []), await network.attach("two", [])
    await serve_tcp(two, 7000)
    assert await ask_tcp(two.ip, 7000, one.netns) == "two"
    listener = within(outside, lambda: socket.create_server(("192.0.2.9", 7001)))
    _, writer = await connect("192.0.2.9", 7001, one.netns)
    served, (seen, _) = listener.accept()
    assert seen == "192.0.2.1", "what leaves the machine must carry the machine's address"
    served.close()
    listener.close()
    writer.close()


async def test_the_client_address_is_kept_for_external_clients(network: RoutedNetwork, outside: str) -> None:
    one = await network.attach("one", ["80/tcp"])
    listener = within(one.netns, lambda: socket.create_server((one.ip, 80)))
    await network.publish({PUBLIC: ((one.ip, 80),)})
    _, writer = await connect("192.0.2.1", 8080, outside)
    served, (seen, _) = listener.accept()
    assert seen == "192.0.2.9"
    served.close()
    listener.close()
    writer.close()


async def test_containers_cannot_reach_services_on_the_loopback(network: RoutedNetwork) -> None:
    """A container may put any packet on its wire; one addressed to 127.0.0.1 must not arrive."""
    one = await network.attach("one", [])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as private:
        private.bind(("127.0.0.1", 6000))
        private.settimeout(0.3)
        frame = _datagram_frame(IPv4Address(one.ip), IPv4Address("127.0.0.1"), 6000)

        def send() -> None:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
                wire.bind(("eth0", 0))
                wire.send(frame)

        within(one.netns, send)
        with pytest.raises(TimeoutError):
            private.recv(100)
        run("nft", "flush", "chain", *TABLE.split(), "protect")
        within(one.netns, send)
        assert private.recv(100) == b"boo", "without the rule it arrives, so this test can fail"


def _datagram_frame(source: IPv4Address, destination: IPv4Address, port: int) -> bytes:
    udp = struct.pack("!HHHH", 4000, port, 11, 0) + b"boo"
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, source.packed, destination.packed
    )
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:]
    return b"\xee" * 6 + b"\x02\0\0\0\0\x01" + b"\x08\x00" + head + udp


async def test_publishing_port_53_never_takes_the_name_server_away(network: RoutedNetwork) -> None:
    one = await network.attach("one", ["53/udp"])
    port = Published("udp", 53)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as names:
        names.bind((network.dns_address, 53))
        names.settimeout(5)
        refused = await network.publish({port: ((one.ip, 53),)})
        assert "port 53 is in use by" in refused[port]
        with datagram_client(network.dns_address, 53, one.netns) as client:
            client.send(b"who")
            assert names.recv(100) == b"who"


async def test_rules_and_attachments_outlive_a_killed_daemon(tmp_path: Path) -> None:
    script = f"""
import asyncio, os, signal
from pathlib import Path
from hivemind.drivers.network.contract import Published
from hivemind.drivers.network.routed import RoutedNetwork
async def main():
    network = RoutedNetwork({NODE!r}, Path({str(tmp_path / "state")!r}), Path({str(tmp_path / "run")!r}))
    await network.open()
    made = [await network.attach(f"a{{n}}", ["80/tcp"]) for n in range(2)]
    await network.publish({{Published("tcp", 8080): tuple((one.ip, 80) for one in made)}})
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    assert (await daemon(script)).returncode == -signal.SIGKILL
    network = life(tmp_path)
    await network.open()
    assert {name: one.ip for name, one in network.attachments().items()} == {
        "a0": "10.200.0.2",
        "a1": "10.200.0.3",
    }
    for one in network.attachments().values():
        await serve_tcp(one, 80)
    assert {await ask_tcp("127.0.0.1", 8080) for _ in range(40)} == {"a0", "a1"}, "before any publish"
    fresh = await network.attach("fresh", ["80/tcp"])
    assert fresh.ip not in {"10.200.0.2", "10.200.0.3"}
    await network.publish({PUBLIC: ((network.attachments()["a1"].ip, 80),)})
    assert {await ask_tcp("127.0.0.1", 8080) for _ in range(20)} == {"a1"}
    await network.destroy()


async def daemon(script: str) -> subprocess.CompletedProcess[bytes]:
    return await asyncio.to_thread(subprocess.run, [sys.executable, "-c", script], check=False)


async def test_killed_at_any_instant_it_is_finished_or_cleaned_by_the_next_open(tmp_path: Path) -> None:
    script = f"""
import asyncio, os
from pathlib import Path
from hivemind.drivers.network.contract import Published
from hivemind.drivers.network.routed import RoutedNetwork
async def main():
    network = RoutedNetwork({NODE!r}, Path({str(tmp_path / "state")!r}), Path({str(tmp_path / "run")!r}))
    print("opening", flush=True)
    await network.open()
    for turn in range(100000):
        names = [f"t{{os.getpid()}}-{{turn}}-{{n}}" for n in range(4)]
        made = await asyncio.gather(*(network.attach(name, ["80/tcp"]) for name in names))
        await network.publish({{Published("tcp", 8080): tuple((one.ip, 80) for one in made)}})
        await asyncio.gather(*(network.detach(name) for name in names[:3]))
        await network.prune({{names[3]}})
asyncio.run(main())
"""
    for delay in range(0, 75, 5):
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=subprocess.PIPE)
        assert child.stdout is not None and await child.stdout.readline() == b"opening\n"
        await asyncio.sleep(delay / 1000)
        child.kill()
        await child.wait()
    network = life(tmp_path)
    await network.open()
    living = network.attachments()
    await until(lambda: len(own_links()) == len(living), "links of no attachment stayed")
    assert sorted(pins(tmp_path)) == sorted(one.netns for one in living.values())
    routed = {line.split()[0] for line in run("ip", "route").splitlines() if " dev hm" in line}
    assert routed == {one.ip for one in living.values()}
    for one in living.values():
        server = await serve_tcp(one, 80)
        assert await ask_tcp(one.ip, 80) == one.allocation, "what is called attached must work"
        server.close()
    await network.destroy()
    assert own_links() == set()


async def test_a_hundred_come_and_go_and_nothing_stays(tmp_path: Path) -> None:
    run("ip", "link", "set", "lo", "up")
    run(
        "nft", "add table ip hivemind_cdcdcdcd; add chain ip hivemind_cdcdcdcd foreign; add table inet filter"
    )
    run("ip", "link", "add", "hmcdcd00000000", "type", "veth", "peer", "name", "foreign")
    run("ip", "address", "add", "198.51.100.1/24", "dev", "foreign")
    run("ip", "link", "set", "foreign", "up")
    before = traces()
    network = life(tmp_path)
    await network.open()
    names = [f"a{n}" for n in range(100)]
    made = await asyncio.gather(*(network.attach(name, ["80/tcp"]) for name in names))
    await network.publish({PUBLIC: tuple((one.ip, 80) for one in made)})
    await asyncio.gather(*(network.detach(name) for name in names[:60]))
    await network.prune(set())
    await until(lambda: own_links() == {"hmcdcd00000000"}, "links stayed")
    assert pins(tmp_path) == []
    assert " dev hmabab" not in run("ip", "route")
    await network.publish({PUBLIC: ()})
    await asyncio.gather(*(network.attach(name, []) for name in names[:10]))
    await network.close()
    await life(tmp_path).destroy()  # As `hivemind` does it when the daemon is gone: without opening first.
    assert traces() == before
    assert list((tmp_path / "run").iterdir()) == []
    assert list((tmp_path / "state").iterdir()) == []
    await life(tmp_path / "never").destroy()
    assert traces() == before


async def test_rules_are_written_anew_after_a_stranger_flushed_them(network: RoutedNetwork) -> None:
    one = await network.attach("one", ["80/tcp"])
    await serve_tcp(one, 80)
    table = {PUBLIC: ((one.ip, 80),)}
    await network.publish(table)
    run("nft", "flush", "ruleset")
    with pytest.raises(ConnectionRefusedError):
        await ask_tcp("127.0.0.1", 8080)
    await network.publish(table)
    assert await ask_tcp("127.0.0.1", 8080) == "one"


async def test_a_dead_nft_is_replaced() -> None:
    nft = Nft()
    nft.apply(["add table ip t"])
    assert nft._child is not None
    nft._child.kill()
    nft._child.wait()
    nft.apply(["add chain ip t c"])
    assert "chain c" in run("nft", "list", "table", "ip", "t")
    nft.close()


async def test_a_change_is_carried_out_whole_or_not_at_all() -> None:
    nft = Nft()
    nft.apply(["add table ip t"])
    with pytest.raises(NftError, match="No such file or directory"):
        nft.apply(["add chain ip t good", "add rule ip t nowhere drop"])
    with pytest.raises(NftError, match="syntax error"):
        nft.apply(["add chain ip t good", "nonsense %%"])
    assert "good" not in run("nft", "list", "table", "ip", "t")
    nft.apply([f"add chain ip t c{n}" for n in range(3000)])
    assert run("nft", "list", "table", "ip", "t").count("chain c") == 3000
    nft.close()


async def test_detach_ends_the_flows_to_an_address(network: RoutedNetwork) -> None:
    one, two = await network.attach("one", ["53/udp"]), await network.attach("two", ["53/udp"])
    port = Published("udp", 5353)
    await network.publish({port: ((one.ip, 53),)})
    await serve_udp(one, 53)
    await serve_udp(two, 53)
    with datagram_client("127.0.0.1", 5353) as client, datagram_client(two.ip, 53, one.netns) as other:
        assert await ask_udp(client) == "one"
        assert await ask_udp(other) == "two"
        assert flows_of(one.ip) == 2
        await network.detach("one")
        assert flows_of(one.ip) == 0


async def test_a_flow_that_took_the_ports_of_a_forgotten_one_goes_on(network: RoutedNetwork) -> None:
    one, two = await network.attach("one", ["53/udp"]), await network.attach("two", ["53/udp"])
    port = Published("udp", 5353)
    await network.publish({port: ((one.ip, 53),)})
    await serve_udp(one, 53)
    await serve_udp(two, 53)
    chosen, replaced = threading.Event(), threading.Event()

    def of_one(flow: conntrack.Flow) -> bool:
        if flow.answered_by != IPv4Address(one.ip):
            return False
        chosen.set()
        return replaced.wait(10)

    with datagram_client("127.0.0.1", 5353) as client:
        assert await ask_udp(client) == "one"
        forgetting = asyncio.create_task(asyncio.to_thread(conntrack.forget, of_one))
        assert await asyncio.to_thread(chosen.wait, 10)
        await network.publish({port: ((two.ip, 53),)})
        assert await ask_udp(client) == "two"
        replaced.set()
        await forgetting
        assert flows_of(two.ip) == 1


def flows_of(ip: str) -> int:
    address = IPv4Address(ip)
    found = []

    def look(flow: conntrack.Flow) -> bool:
        found.append(address in (flow.source, flow.destination, flow.answered_by))
        return False

    conntrack.forget(look)
    return sum(found)


async def test_auto_takes_the_next_free_subnet_and_keeps_it(tmp_path: Path) -> None:
    run("ip", "link", "add", "vpn", "type", "veth", "peer", "name", "vpn2")
    run("ip", "link", "set", "vpn", "up")
    run("ip", "route", "add", "10.200.0.0/21", "dev", "vpn")
    network = life(tmp_path)
    await network.open()
    assert network.dns_address == "10.200.8.1"
    await network.close()
    run("ip", "route", "del", "10.200.0.0/21", "dev", "vpn")
    await network.open()
    assert network.dns_address == "10.200.8.1"
    await network.destroy()


async def test_a_clashing_subnet_is_refused_by_name(tmp_path: Path) -> None:
    run("ip", "link", "add", "vpn", "type", "veth", "peer", "name", "vpn2")
    run("ip", "link", "set", "vpn", "up")
    run("ip", "route", "add", "10.77.0.0/16", "dev", "vpn")
    with pytest.raises(
        Conflict, match=r"network.subnet 10.77.4.0/24 clashes with the route 10.77.0.0/16 by vpn"
    ):
        await life(tmp_path, subnet="10.77.4.0/24").open()
    with pytest.raises(Invalid, match="not an IPv4 network"):
        life(tmp_path, subnet="10.77.4.0/33")


async def test_the_subnet_cannot_change_under_living_allocations(tmp_path: Path) -> None:
    network = life(tmp_path, subnet="10.77.4.0/24")
    await network.open()
    one = await network.attach("one", [])
    assert one.ip == "10.77.4.2"
    await network.close()
    with pytest.raises(Conflict, match=r"1 allocations live on 10.77.4.0/24"):
        await life(tmp_path, subnet="10.78.4.0/24").open()
    again = life(tmp_path)
    await again.open()
    assert again.attachments() == {"one": one}
    await again.destroy()


async def test_addresses_run_out_clearly_and_are_not_reused_at_once(tmp_path: Path) -> None:
    network = life(tmp_path, subnet="10.77.4.0/29")
    await network.open()
    made = [await network.attach(f"a{n}", []) for n in range(5)]
    with pytest.raises(Unavailable, match=r"all 5 addresses of 10.77.4.0/29 are taken"):
        await network.attach("more", [])
    await network.detach("a3")
    assert (await network.attach("more", [])).ip == made[3].ip
    await network.destroy()

    network = life(tmp_path)
    await network.open()
    first = await network.attach("a", [])
    await network.detach("a")
    assert (await network.attach("b", [])).ip != first.ip
    await network.close()
    again = life(tmp_path)
    await again.open()
    seen = {first.ip, again.attachments()["b"].ip}
    assert (await again.attach("c", [])).ip not in seen
    await again.destroy()


async def test_inside_there_is_loopback_one_address_and_no_ipv6_noise(network: RoutedNetwork) -> None:
    one = await network.attach("one", [])
    addresses = within(one.netns, lambda: json.loads(run("ip", "-j", "address")))
    by_link = {link["ifname"]: link for link in addresses}
    assert set(by_link) == {"lo", "eth0"}
    assert "127.0.0.1" in {address["local"] for address in by_link["lo"]["addr_info"]}
    assert [address["local"] for address in by_link["eth0"]["addr_info"]] == [one.ip]
    assert within(one.netns, lambda: os.readlink("/proc/thread-self/ns/net")) != os.readlink(
        "/proc/self/ns/net"
    )


async def test_a_port_in_use_names_the_process(network: RoutedNetwork) -> None:
    for address in ("127.0.0.1", "0.0.0.0"):
        with socket.create_server((address, 8080)):
            reasons = await network.publish({PUBLIC: ()})
            name = Path("/proc/self/comm").read_text().strip()
            assert reasons == {PUBLIC: f"port 8080 is in use by {name} (pid {os.getpid()})"}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 8080))
        assert "in use by" in (await network.publish({Published("udp", 8080): ()}))[Published("udp", 8080)]


async def test_remains_of_old_connections_do_not_hinder(network: RoutedNetwork) -> None:
    with socket.create_server(("127.0.0.1", 8080)) as listener:
        client = socket.create_connection(("127.0.0.1", 8080))
        served, _ = listener.accept()
        served.close()  # Who closes first keeps the port in TIME_WAIT.
        client.close()
    assert any(":1F90" in line and " 06 " in line for line in Path("/proc/net/tcp").read_text().splitlines())
    assert await network.publish({PUBLIC: ()}) == {}


async def test_a_machine_without_nft_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(Unsupported, match="nft is not installed") as caught:
        await life(tmp_path).open()
    assert "apt install nftables" in caught.value.hint


async def test_the_event_loop_stays_free_while_many_attach(network: RoutedNetwork) -> None:
    """Ordering, not time: the loop takes turns while the worker is in the middle of a hundred attachments."""
    attaching = asyncio.gather(*(network.attach(f"a{n}", []) for n in range(100)))
    turns = set()
    while not attaching.done():
        turns.add(len(network.attachments()))
        await asyncio.sleep(0)
    await attaching
    assert len(turns) > 10


async def test_an_attachment_that_fails_late_leaves_nothing_and_works_later(
    network: RoutedNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: object, record: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("hivemind.drivers.network.records.Records.save", full)
        with pytest.raises(Unavailable, match=r"cannot attach one to the network: .*No space left"):
            await network.attach("one", [])
    assert network.attachments() == {}
    assert pins(tmp_path) == []
    await until(lambda: own_links() == set(), "its link stayed")
    one = await network.attach("one", [])
    await serve_tcp(one, 80)
    assert await ask_tcp(one.ip, 80) == "one"
