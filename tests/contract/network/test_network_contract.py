"""What every network promises the agent. The fake carries no traffic; the others carry real traffic."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path

import pytest

from hivemind.drivers.network import netns
from hivemind.drivers.network.contract import Attachment, Network, Published
from hivemind.drivers.network.docker import DockerNetwork
from hivemind.drivers.network.fake import FakeNetwork
from hivemind.drivers.network.host import HostNetwork
from hivemind.drivers.network.routed import RoutedNetwork
from hivemind.errors import Invalid, Unavailable
from network_traffic import ask_tcp, ask_udp, connect, datagram_client, serve_tcp, serve_udp

pytestmark = pytest.mark.anyio

NODE = "ab" * 32
ROUTED = pytest.param("routed", marks=pytest.mark.real)
DOCKER = pytest.param("docker", marks=pytest.mark.real)


class Settled(DockerNetwork):
    """Stands in for containers, which only a runtime makes: what is attached is an address of the bridge itself."""

    async def attach(self, allocation: str, ports: Iterable[str]) -> Attachment:
        made = await super().attach(allocation, ports)
        self._settle(made.ip)
        return made

    def _settle(self, ip: str) -> None:
        subprocess.run(["ip", "address", "replace", f"{ip}/32", "dev", self.link], check=True)


@pytest.fixture
def make(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[], Network]]:
    """Each call is a new daemon's life over the same state."""
    if kind != "docker":
        yield _maker(kind, tmp_path)
        return
    engine = request.getfixturevalue("docker_engine")
    owner = hashlib.sha256(bytes(tmp_path)).hexdigest()[:12]
    with netns.entered(engine.netns):
        yield lambda: Settled(engine.socket, owner, tmp_path / "state")


def _maker(kind: str, tmp_path: Path) -> Callable[[], Network]:
    if kind == "fake":
        fake = FakeNetwork()
        return lambda: fake
    if kind == "host":
        return lambda: HostNetwork(tmp_path / "state")
    return lambda: RoutedNetwork(NODE, tmp_path / "state", tmp_path / "run")


@pytest.fixture
async def network(make: Callable[[], Network]) -> AsyncIterator[Network]:
    network = make()
    await network.open()
    yield network
    await network.open()
    await network.destroy()


@pytest.fixture
def public() -> int:
    """A port that nobody uses, below those of outgoing connections."""
    for port in range(19000, 19900):
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


every = pytest.mark.parametrize("kind", ["fake", "host", ROUTED, DOCKER])
carrying = pytest.mark.parametrize("kind", ["host", ROUTED, DOCKER])


@every
async def test_attaching_twice_is_attaching_once(network: Network) -> None:
    first = await network.attach("a", ["80/tcp", "53/udp"])
    assert await network.attach("a", ["80/tcp", "53/udp"]) == first
    assert network.attachments() == {"a": first}
    assert set(first.ports) == {"80/tcp", "53/udp"}


@every
async def test_changed_ports_keep_the_address(network: Network) -> None:
    first = await network.attach("a", ["80/tcp"])
    second = await network.attach("a", ["80/tcp", "81/tcp"])
    assert (second.ip, second.netns, second.ports["80/tcp"]) == (first.ip, first.netns, first.ports["80/tcp"])
    assert network.attachments()["a"] == second


@every
async def test_parallel_attachments_never_share_an_endpoint(network: Network) -> None:
    made = await asyncio.gather(*(network.attach(f"a{n}", ["80/tcp"]) for n in range(20)))
    assert len({(one.ip, one.ports["80/tcp"]) for one in made}) == 20


@every
async def test_detach_is_idempotent(network: Network) -> None:
    await network.attach("a", [])
    await network.detach("a")
    await network.detach("a")
    assert network.attachments() == {}


@every
async def test_prune_keeps_what_it_is_told(network: Network) -> None:
    for name in "abc":
        await network.attach(name, [])
    await network.prune({"b", "unknown"})
    assert set(network.attachments()) == {"b"}


@every
async def test_a_new_daemon_finds_the_attachments(make: Callable[[], Network], network: Network) -> None:
    before = {name: await network.attach(name, ["80/tcp"]) for name in "abc"}
    await network.close()
    again = make()
    await again.open()
    assert again.attachments() == before
    fresh = await again.attach("d", ["80/tcp"])
    assert all((fresh.ip, fresh.ports) != (old.ip, old.ports) for old in before.values())
    await again.close()


@every
async def test_what_is_closed_says_so(network: Network) -> None:
    await network.close()
    with pytest.raises(Unavailable, match="not open"):
        await network.attach("a", [])


@every
@pytest.mark.parametrize("port", ["80", "80/sctp", "0/tcp", "65536/tcp", "http/tcp", ""])
async def test_bad_ports_are_refused(network: Network, port: str) -> None:
    with pytest.raises(Invalid, match="is not a port"):
        await network.attach("a", [port])
    assert network.attachments() == {}


@every
@pytest.mark.parametrize("name", ["", "../a", ".a", "a/b", "a" * 300])
async def test_bad_names_are_refused(network: Network, name: str) -> None:
    with pytest.raises(Invalid):
        await network.attach(name, [])


@carrying
async def test_requests_are_balanced_over_the_backends(network: Network, public: int) -> None:
    made = [await network.attach(f"a{n}", ["80/tcp"]) for n in range(3)]
    servers = [await serve_tcp(one, one.ports["80/tcp"]) for one in made]
    backends = tuple((one.ip, one.ports["80/tcp"]) for one in made)
    assert await network.publish({Published("tcp", public): backends}) == {}
    answers = Counter([await ask_tcp("127.0.0.1", public) for _ in range(90)])
    assert set(answers) == {"a0", "a1", "a2"}
    assert min(answers.values()) >= 10
    for server in servers:
        server.close()


@carrying
async def test_datagrams_reach_a_backend_and_move_when_it_goes(network: Network, public: int) -> None:
    made = [await network.attach(f"a{n}", ["53/udp"]) for n in range(2)]
    servers = [await serve_udp(one, one.ports["53/udp"]) for one in made]
    backends = {one.allocation: (one.ip, one.ports["53/udp"]) for one in made}
    port = Published("udp", public)
    assert await network.publish({port: tuple(backends.values())}) == {}
    with datagram_client("127.0.0.1", public) as client:
        first = await ask_udp(client)
        assert await ask_udp(client) == first
        other = "a1" if first == "a0" else "a0"
        await network.publish({port: (backends[other],)})
        assert await ask_udp(client) == other
    for server in servers:
        server.close()


@carrying
async def test_a_port_without_backends_refuses(network: Network, public: int) -> None:
    one = await network.attach("a", ["80/tcp"])
    server = await serve_tcp(one, one.ports["80/tcp"])
    tcp, udp = Published("tcp", public), Published("udp", public)
    backends = ((one.ip, one.ports["80/tcp"]),)
    for table in ({tcp: (), udp: ()}, {tcp: backends, udp: backends}, {tcp: (), udp: ()}):
        assert await network.publish(table) == {}
        if table[tcp]:
            assert await ask_tcp("127.0.0.1", public) == "a"
            continue
        with pytest.raises(ConnectionRefusedError):
            await ask_tcp("127.0.0.1", public)
        with datagram_client("127.0.0.1", public) as client, pytest.raises(ConnectionRefusedError):
            await ask_udp(client)
    server.close()


@carrying
async def test_changing_backends_cuts_no_connection(network: Network, public: int) -> None:
    made = [await network.attach(f"a{n}", ["80/tcp"]) for n in range(2)]
    servers = [await serve_tcp(one, one.ports["80/tcp"]) for one in made]
    backends = [(one.ip, one.ports["80/tcp"]) for one in made]
    port = Published("tcp", public)
    await network.publish({port: (backends[0],)})
    reader, writer = await connect("127.0.0.1", public)
    writer.write(b"before\n")
    assert await reader.readline() == b"a0 before\n"
    await network.publish({port: (backends[1],)})
    assert await ask_tcp("127.0.0.1", public) == "a1"
    await network.publish({port: ()})
    writer.write(b"after\n")
    assert await reader.readline() == b"a0 after\n"
    writer.write_eof()
    assert await reader.readline() == b"a0 bye\n"
    writer.close()
    for server in servers:
        server.close()


@carrying
async def test_a_port_somebody_has_is_named_and_the_others_are_served(network: Network, public: int) -> None:
    one = await network.attach("a", ["80/tcp"])
    server = await serve_tcp(one, one.ports["80/tcp"])
    backends = ((one.ip, one.ports["80/tcp"]),)
    busy, good = Published("tcp", public), Published("tcp", public + 100)
    with socket.create_server(("127.0.0.1", public)):
        refused = await network.publish({busy: backends, good: backends})
        assert set(refused) == {busy}
        assert refused[busy].startswith(f"port {public} is in use by ")
        assert "(pid " in refused[busy]
        assert await ask_tcp("127.0.0.1", good.port) == "a"
    assert await network.publish({busy: backends, good: backends}) == {}
    assert await ask_tcp("127.0.0.1", public) == "a"
    server.close()


@carrying
async def test_a_published_port_is_taken_for_others(network: Network, public: int) -> None:
    port = Published("tcp", public)
    await network.publish({port: ()})
    with socket.socket() as greedy, pytest.raises(OSError, match="in use"):
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        greedy.bind(("127.0.0.1", public))
        greedy.listen()
    await network.publish({})
    socket.create_server(("127.0.0.1", public)).close()
