"""Machines on a network in memory: one heap of what will happen, seeded dice, signatures that cost nothing."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable
from random import Random

from hivemind.protocols.kademlia.events import (
    Ended,
    Found,
    Got,
    Heard,
    Input,
    Join,
    Meet,
    Outside,
    Reached,
    Transmit,
)
from hivemind.protocols.kademlia.ids import Address
from hivemind.protocols.kademlia.kademlia import Kademlia
from hivemind.protocols.kademlia.settings import Settings
from hivemind.protocols.machine import MILLISECOND, SECOND, Micros, Tick

TOPIC = b"t" * 32
WALL = 1_700_000_000_000_000
Event = Found | Ended | Got | Outside | Reached


class Key:
    def __init__(self, name: str) -> None:
        self.public = hashlib.blake2b(name.encode(), digest_size=32).hexdigest()

    def sign(self, message: bytes) -> bytes:
        return _signature(self.public, message)


def _signature(public: str, message: bytes) -> bytes:
    return hashlib.blake2b(message, key=bytes.fromhex(public)).digest()


def verify(public: str, message: bytes, signature: bytes) -> bool:
    return _signature(public, message) == signature


class Node:
    def __init__(self, net: Net, name: str, address: Address) -> None:
        self.net, self.name, self.address, self.key = net, name, address, Key(name)
        self.up = True
        self.told: list[Event] = []
        self.skew = 0
        self.machine = self.made()

    def made(self) -> Kademlia:
        return Kademlia(
            self.key,
            verify,
            Random(f"{self.net.seed} {self.name} {self.net.now}"),
            hive="hive",
            own=self.address,
            admits=self.net.admitted.__contains__,
            wall=lambda now: WALL + now + self.skew,
            settings=self.net.settings,
        )

    @property
    def id(self) -> str:
        return self.key.public

    def give(self, event: Input) -> None:
        if not self.up:
            return
        for effect in self.machine.handle(event, self.net.now):
            if isinstance(effect, Transmit):
                self.net.carry(self, effect.to, effect.message)
            else:
                self.told.append(effect)
        self.machine.check()
        due = self.machine.deadline()
        if due is not None:
            self.net.at(max(due, self.net.now), self.ring)

    def ring(self) -> None:
        due = self.machine.deadline()
        if self.up and due is not None and due <= self.net.now:
            self.give(Tick())

    @property
    def found(self) -> dict[str, Found]:
        """The newest of each node."""
        return {each.node: each for each in self.told if isinstance(each, Found)}

    def ended(self, number: int) -> Ended | None:
        return next((e for e in self.told if isinstance(e, Ended) and e.number == number), None)


class Net:
    def __init__(self, seed: int = 0, settings: Settings | None = None) -> None:
        self.seed, self.dice, self.now = seed, Random(seed), 0
        self.settings = settings or Settings()
        self.nodes: dict[str, Node] = {}
        self.at_address: dict[Address, Node] = {}
        self.admitted: set[str] = set()
        self.loss = 0.0
        self.latency: Micros = MILLISECOND
        self.sent = 0
        self.largest = 0
        self.tap: Callable[[Node, Address, bytes], bytes | None] = lambda node, to, message: message
        self._heap: list[tuple[Micros, int, Callable[[], None]]] = []
        self._ties = 0

    def node(self, name: str, address: Address | None = None, *, admitted: bool = True) -> Node:
        number = len(self.nodes)
        node = Node(self, name, address or (f"10.0.{number // 250}.{number % 250 + 1}", 7_946))
        self.nodes[name] = self.at_address[node.address] = node
        if admitted:
            self.admitted.add(node.id)
        return node

    def many(self, count: int) -> list[Node]:
        return [self.node(f"n{number}") for number in range(count)]

    def at(self, time: Micros, action: Callable[[], None]) -> None:
        self._ties += 1
        heapq.heappush(self._heap, (time, self._ties, action))

    def carry(self, sender: Node, to: Address, message: bytes) -> None:
        self.sent += 1
        self.largest = max(self.largest, len(message))
        changed = self.tap(sender, to, message)
        if changed is None or self.dice.random() < self.loss:
            return
        self.deliver(sender.address, sender.id, to, changed)

    def deliver(self, source: Address, sender: str, to: Address, message: bytes) -> None:
        delay = self.latency + self.dice.randrange(self.latency)

        def arrive() -> None:
            if (receiver := self.at_address.get(to)) is not None:
                receiver.give(Heard(source, sender, message))

        self.at(self.now + delay, arrive)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Whether it came to that."""
        end = self.now + round(seconds * SECOND)
        while self._heap and self._heap[0][0] <= end:
            self.now, _, action = heapq.heappop(self._heap)
            action()
            if until():
                return True
        self.now = end
        return until()

    def fall(self, node: Node) -> None:
        node.up = False

    def rise(self, node: Node, address: Address | None = None) -> None:
        """With an empty memory."""
        if address:
            if self.at_address.get(node.address) is node:
                del self.at_address[node.address]
            node.address = address
            self.at_address[address] = node
        node.up, node.told, node.machine = True, [], node.made()


def begin(nodes: Iterable[Node], seeds: Iterable[Node]) -> None:
    known = tuple(seed.address for seed in seeds)
    for node in nodes:
        node.give(Join(TOPIC, (node.address,)))
        node.give(Meet(known))


def meshed(nodes: list[Node]) -> bool:
    return all(len(node.found) >= len(nodes) - 1 for node in nodes)
