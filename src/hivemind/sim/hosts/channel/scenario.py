"""The world of channels: nodes that tell each other things over connections that cross, break and are made again.

authentic       what is heard from a node, that node said to this one, and nobody else
once, in order  nothing is heard twice, nor before what was said earlier on the same connection
one connection  in the end each pair has one, which both take for the same, and questions are answered over it
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from hivemind.protocols.machine import SECOND, Micros
from hivemind.security.identity import Identity
from hivemind.sim.adversaries.channel.liar import Liar
from hivemind.sim.adversaries.contract import Adversary
from hivemind.sim.hosts.channel.peer import Answered, Close, Dial, Heard, Peer, Say, Write
from hivemind.sim.network import Network, Weather
from hivemind.sim.process import Process
from hivemind.sim.scenario import Scenario, Settings
from hivemind.sim.streams import Streams
from hivemind.sim.violation import demand
from hivemind.sim.world import World

_LONGEST = 3_000


class Told(msgspec.Struct, frozen=True):
    """At that time, this node tells that one something."""

    at: Micros
    sender: int
    receiver: int
    size: int
    ask: bool
    back: bool
    """The other one speaks at the same moment."""


class ChannelScenario(Scenario):
    name = "channel"
    patience = 20 * SECOND

    def __init__(self, world: World, settings: Settings, kind: type[Adversary] | None = None) -> None:
        super().__init__(world, settings, kind)
        self.network = Network(world, Weather())
        seeds = [_seed(world.seed, f"node {number}") for number in range(settings.nodes)]
        by_id = {Identity(seed).public: seed for seed in seeds}
        self.nodes = sorted(by_id)
        self._by_id = by_id
        self.processes = {}
        for number, node in enumerate(self.nodes):
            self.processes[node] = Process(
                world,
                self.network,
                node,
                self._build,
                self._perform,
                clock=self.clock(node),
                label=f"n{number}",
            )
        self.streams = Streams(world, self.network, self.processes)
        self._count = 0
        self._said: dict[bytes, tuple[str, str]] = {}
        """Each text is said once -> from whom, to whom."""
        self._heard: set[bytes] = set()
        self._newest: dict[tuple[str, str, bytes], int] = {}
        self._unanswered: set[bytes] = set()
        self.liars: set[str] = set()
        self.adversaries: list[Liar] = []
        if kind is not None:
            demand(len(self.nodes) > 2, "a fair fight", "a liar needs two to come between")
            adversary = kind(world, self.processes[self.nodes[0]], Identity(by_id[self.nodes[0]]))
            assert isinstance(adversary, Liar)
            adversary.streams, adversary.nodes_in_order = self.streams, self.nodes
            adversary.seed = by_id[self.nodes[0]]
            if adversary.at_a_node:
                self.liars.add(self.nodes[0])
            self.adversaries.append(adversary)

    def _build(self, process: Process, records: list[bytes]) -> Peer:
        dice = self.world.dice("peer", process.label, process.starts)
        peer = Peer(process, self._by_id[process.node], self.nodes, dice)
        peer.cross = lambda: self.world.cover("two calls crossed")
        return peer

    def _perform(self, process: Process, effect: Any) -> None:
        peer = process.machine
        assert isinstance(peer, Peer)
        match effect:
            case Write():
                effect.end.write(effect.data)
            case Close():
                effect.end.close()
            case Dial():
                process.do(peer.dialed(self.streams.dial(process, effect.to), effect.to))
            case Heard():
                self._hears(process, effect)
            case Answered():
                self._unanswered.discard(effect.text)
                self.world.cover("answered")
            case _:
                raise TypeError(f"a peer wants {effect!r}")

    # -- what is said ------------------------------------------------------------------------------------------

    def operations(self) -> Sequence[Told]:
        dice, made = self.world.dice("talk"), []
        for _ in range(int(40 * self.settings.seconds) + 10):
            sender, receiver = dice.sample(range(len(self.nodes)), 2) if len(self.nodes) > 1 else (0, 0)
            at, size = dice.randrange(self.settings.span), dice.randrange(_LONGEST)
            made.append(Told(at, sender, receiver, size, dice.random() < 0.3, dice.random() < 0.3))
        return sorted(made, key=lambda one: one.at)

    def begin(self, operations: Sequence[Told]) -> None:
        for process in self.processes.values():
            process.start()
        for adversary in self.adversaries:
            adversary.begin()
        for one in operations:
            self.world.at(one.at, lambda one=one: self._tell(one))  # type: ignore[misc]

    def _tell(self, one: Told) -> None:
        self._say(self.nodes[one.sender], self.nodes[one.receiver], one.size, ask=one.ask)
        if one.back:
            self._say(self.nodes[one.receiver], self.nodes[one.sender], one.size, ask=False)

    def _say(self, sender: str, receiver: str, size: int, *, ask: bool) -> bytes:
        process = self.processes[sender]
        if not process.up or process.frozen or sender == receiver:
            return b""
        self._count += 1
        text = b"%d %s" % (self._count, bytes(size))
        self._said[text] = (sender, receiver)
        process.submit(Say(receiver, text, ask))
        return text

    # -- what must hold ----------------------------------------------------------------------------------------

    def _hears(self, process: Process, effect: Heard) -> None:
        if process.node in self.liars:
            return
        self.world.cover("heard")
        self.world.note(process.label, "hears", f"{self.world.name(effect.sender)} {effect.text[:12]!r}")
        if effect.sender in self.liars:
            return
        what = f"{process.label} hears {effect.text[:12]!r} from {self.world.name(effect.sender)}"
        demand(self._said.get(effect.text) == (effect.sender, process.node), "authentic", what)
        demand(effect.text not in self._heard, "once, in order", f"{what} again")
        self._heard.add(effect.text)
        number = int(effect.text.partition(b" ")[0])
        if effect.ordered:
            place = (process.node, effect.sender, effect.binding)
            demand(number > self._newest.get(place, 0), "once, in order", f"{what}, late")
            self._newest[place] = number

    def check(self) -> None:
        """What is heard is looked at when it is."""

    def frail(self) -> tuple[str, ...]:
        """Nothing is kept on disk."""
        return ()

    def _honest(self) -> list[str]:
        return [node for node in self.nodes if node not in self.liars]

    def healed(self) -> None:
        """Everybody asks everybody, again until it is told."""
        for adversary in self.adversaries:
            adversary.healed()
        self._pairs = {(a, b) for a in self._honest() for b in self._honest() if a != b}
        self._questions: dict[bytes, tuple[str, str]] = {}
        self._ask_again()

    def _ask_again(self) -> None:
        told = [text for text in self._questions if text not in self._unanswered]
        self._pairs -= {self._questions.pop(text) for text in told}
        for a, b in sorted(self._pairs):
            text = self._say(a, b, 40, ask=True)
            self._unanswered.add(text)
            self._questions[text] = (a, b)
        if self._pairs:
            self.world.after(2 * SECOND, self._ask_again)

    def recovered(self) -> bool:
        told = {pair for text, pair in self._questions.items() if text not in self._unanswered}
        return self._pairs <= told and not self._apart()

    def _apart(self) -> str:
        """Two that do not take the same connection for theirs, for people."""
        for a in self._honest():
            for b in self._honest():
                if a < b:
                    ends = [self._binding(a, b), self._binding(b, a)]
                    if ends[0] != ends[1] or not ends[0]:
                        return f"{self.world.name(a)} and {self.world.name(b)}"
        return ""

    def _binding(self, node: str, other: str) -> bytes:
        peer = self.processes[node].machine
        line = peer.links.get(other) if isinstance(peer, Peer) else None
        return line.channel.binding if line is not None else b""

    def unmet(self) -> str:
        told = {pair for text, pair in self._questions.items() if text not in self._unanswered}
        left = [f"{self.world.name(a)}>{self.world.name(b)}" for a, b in sorted(self._pairs - told)]
        return f"no answer: {left}; apart: {self._apart()}"

    def finish(self) -> None:
        for adversary in self.adversaries:
            for what in adversary.evidence:
                demand(self.world.coverage[what] > 0, "coverage", f"{adversary.name}: {what} never happened")


def _seed(world: int, name: str) -> bytes:
    return hashlib.blake2b(f"{world}/{name}".encode(), digest_size=32).digest()
