"""Nodes behind real address translators, made of network namespaces and nftables: where translation is consistent,
datagrams get through directly; where it is random they do not, and connections go through a third node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from real.network.nat_node import identity

pytestmark = pytest.mark.real
_PROGRAM = Path(__file__).with_name("nat_node.py")
_PATIENCE = 60.0


def run(*words: str, inside: int | None = None) -> None:
    enter = ["nsenter", "-t", str(inside), "-n"] if inside else []
    done = subprocess.run([*enter, *words], capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"


class Node:
    """A process, and what it has said."""

    def __init__(self, number: int, host: str, seeds: tuple[int, ...], inside: int | None) -> None:
        enter = ["nsenter", "-t", str(inside), "-n"] if inside else []
        self.id = identity(number).public
        self.said: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [*enter, sys.executable, str(_PROGRAM), str(number), host, *map(str, seeds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
        )
        assert self.process.stdout
        os.set_blocking(self.process.stdout.fileno(), False)
        self._rest = b""

    def hear(self) -> None:
        assert self.process.stdout
        while data := self.process.stdout.read():
            self._rest += data
            *lines, self._rest = self._rest.split(b"\n")
            self.said += [json.loads(line) for line in lines]

    def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            self.hear()
            if match := next((each for each in reversed(self.said) if condition(each)), None):
                return match
            time.sleep(0.02)
        raise AssertionError(f"it only said {self.said}")

    def tell(self, command: str, answer: str) -> dict[str, Any]:
        self.said = [each for each in self.said if answer not in each and "error" not in each]
        assert self.process.stdin
        self.process.stdin.write(f"{command}\n".encode())
        self.process.stdin.flush()
        return self.until(lambda said: answer in said or "error" in said)

    def translation(self) -> str:
        self.hear()
        return next((each["translation"] for each in reversed(self.said) if "translation" in each), "")


class World:
    """Three nodes that everybody reaches, on one network; hidden ones, each behind a translator of its own."""

    def __init__(self) -> None:
        self.holders: list[subprocess.Popen[bytes]] = []
        self.nodes: list[Node] = []
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "wan", "type", "bridge")
        run("ip", "link", "set", "wan", "up")
        for number in (1, 2, 3):
            run("ip", "addr", "add", f"203.0.113.{number}/24", "dev", "wan")
        self.public = [
            Node(number, f"203.0.113.{number}", tuple(range(1, number)), None) for number in (1, 2, 3)
        ]
        self.nodes += self.public
        for node in self.public:
            node.until(lambda said: "ready" in said)

    def node(self, number: int, host: str, seeds: tuple[int, ...], inside: int | None = None) -> Node:
        node = Node(number, host, seeds, inside)
        self.nodes.append(node)
        node.until(lambda said: "ready" in said)
        return node

    def namespace(self) -> int:
        """Its holder's pid."""
        holder = subprocess.Popen(["unshare", "-n", "sleep", "300"])
        self.holders.append(holder)
        own = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{holder.pid}/ns/net") == own:
            time.sleep(0.005)
        return holder.pid

    def hidden(self, number: int, masquerade: str) -> Node:
        """In 192.168.<number>.0/24, behind 203.0.113.<number>."""
        router, home = self.namespace(), self.namespace()
        run("ip", "link", "add", f"w{number}", "type", "veth", "peer", "name", "wan", "netns", str(router))
        run("ip", "link", "set", f"w{number}", "master", "wan", "up")
        run(
            "ip",
            "link",
            "add",
            "lan",
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            str(home),
            inside=router,
        )
        for device, address in (("wan", f"203.0.113.{number}/24"), ("lan", f"192.168.{number}.1/24")):
            run("ip", "addr", "add", address, "dev", device, inside=router)
            run("ip", "link", "set", device, "up", inside=router)
        run("ip", "addr", "add", f"192.168.{number}.2/24", "dev", "eth0", inside=home)
        for device in ("lo", "eth0"):
            run("ip", "link", "set", device, "up", inside=home)
        run("ip", "route", "add", "default", "via", f"192.168.{number}.1", inside=home)
        run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward", inside=router)
        rules = (
            "add table ip nat; "
            "add chain ip nat out { type nat hook postrouting priority 100; }; "
            f'add rule ip nat out oifname "wan" {masquerade}; '
            "add table ip filter; "
            "add chain ip filter forward { type filter hook forward priority 0; policy drop; }; "
            'add rule ip filter forward iifname "lan" accept; '
            "add rule ip filter forward ct state established,related accept; "
            "add chain ip filter input { type filter hook input priority 0; }; "
            'add rule ip filter input iifname "wan" drop'
        )
        run("nft", rules, inside=router)
        return self.node(number, f"192.168.{number}.2", (1, 2, 3), home)

    def close(self) -> None:
        for node in self.nodes:
            node.process.kill()
            node.process.communicate()
        for holder in self.holders:
            holder.kill()
            holder.wait()


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def _way(node: Node, other: Node) -> Any:
    return node.tell(f"way {other.id}", "way")["way"]


def _eventually_way(node: Node, other: Node) -> Any:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if way := _way(node, other):
            return way
        time.sleep(0.1)
    raise AssertionError(f"no way for datagrams from {node.said}")


def test_datagrams_get_through_two_consistent_translators_once_both_have_sent(world: World) -> None:
    one, other = world.hidden(11, "masquerade"), world.hidden(12, "masquerade")
    for node in (one, other):
        node.until(lambda said: said.get("translation") == "consistent")
    one.until(lambda said: said.get("found") == other.id and len(said["addresses"]) == 2)
    assert _eventually_way(one, other) == ["203.0.113.12", 7946]
    assert _eventually_way(other, one) == ["203.0.113.11", 7946]
    # Connections are over TCP, which is not punched: they go through a third node.
    answer = one.tell(f"call {other.id}", "answer")
    assert answer["answer"] == "through"
    assert answer["through"] in [node.id for node in world.public]


def test_between_two_random_translators_a_third_node_carries(world: World) -> None:
    one, other = (world.hidden(number, "masquerade fully-random") for number in (11, 12))
    for node in (one, other):
        node.until(lambda said: said.get("translation") == "random")
    for node, another in ((one, other), (other, one)):
        node.until(lambda said, id=another.id: said.get("found") == id)  # type: ignore[misc]
    answer = one.tell(f"call {other.id}", "answer")
    assert answer["answer"] == "through"
    assert answer["through"] in [node.id for node in world.public]
    assert _way(one, other) is None and _way(other, one) is None


def test_nobody_stores_anything_at_a_node_that_is_hidden(world: World) -> None:
    hidden = world.hidden(11, "masquerade")
    hidden.until(lambda said: said.get("translation") == "consistent")
    for public in world.public:
        assert public.translation() == "open"
        public.until(lambda said: said.get("found") == hidden.id)
