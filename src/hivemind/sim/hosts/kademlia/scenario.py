"""The world of discovery: who is announced, who says so, and who is found.

genuine       nobody is found where it has not announced itself, whatever liars hand out
convergence   after healing whoever looks finds all that are announced
vanishing     and nobody that has taken back its announcement
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hivemind.protocols.kademlia import events, wire
from hivemind.protocols.kademlia.ids import Address
from hivemind.protocols.kademlia.kademlia import Kademlia
from hivemind.protocols.kademlia.settings import Settings as Tuning
from hivemind.protocols.machine import MILLISECOND, SECOND, Micros, Received, Send
from hivemind.sim.adversaries.contract import Adversary
from hivemind.sim.adversaries.kademlia.liar import Liar
from hivemind.sim.keys import Keyring
from hivemind.sim.network import Network, Weather
from hivemind.sim.process import Process
from hivemind.sim.scenario import Scenario, Settings
from hivemind.sim.violation import demand
from hivemind.sim.world import World

HIVE = "sim"
TOPIC = b"t" * 32
_MTU = 1_200
_FIRST = 2
"""Whom all know at the start."""
_LOOK = 1 * SECOND
_TUNING = Tuning(
    record_time=6 * SECOND,
    announce_every=2_500 * MILLISECOND,
    token_every=2 * SECOND,
    ping_every=2 * SECOND,
    refresh_every=3 * SECOND,
    bootstrap_longest=2 * SECOND,
)


class Parting(msgspec.Struct, frozen=True):
    """At that time that node takes back its announcement, for good."""

    at: Micros
    node: int


class Seat:
    """Between a machine that knows addresses and a world that knows nodes."""

    def __init__(self, machine: Kademlia, places: Mapping[str, Address], world: World) -> None:
        self.machine, self._places, self._world = machine, places, world
        self._nodes = {address: node for node, address in places.items()}

    def handle(self, event: Any, now: Micros) -> list[Any]:
        if isinstance(event, Received):
            event = events.Heard(self._places[event.sender], event.sender, event.message)
        effects: list[Any] = []
        for effect in self.machine.handle(event, now):
            if not isinstance(effect, events.Transmit):
                effects.append(effect)
            elif (node := self._nodes.get(effect.to)) is not None:
                effects.append(Send(node, effect.message))
            else:
                self._world.cover("sent to nobody")
        return effects

    def deadline(self) -> Micros | None:
        return self.machine.deadline()

    def check(self) -> None:
        self.machine.check()


class KademliaScenario(Scenario):
    name = "kademlia"
    patience = 60 * SECOND

    def __init__(self, world: World, settings: Settings, kind: type[Adversary] | None = None) -> None:
        super().__init__(world, settings, kind)
        self.keyring = Keyring(world.seed, real=settings.real_crypto)
        self.network = Network(world, Weather(), mtu=_MTU)
        made = [self.keyring.key(f"node {number}") for number in range(settings.nodes)]
        self._keys = {key.public: key for key in made}
        self.nodes = sorted(self._keys)
        self.places: dict[str, Address] = {
            node: (f"192.0.{number // 250}.{number % 250 + 1}", 7_946)
            for number, node in enumerate(self.nodes)
        }
        self.processes = {
            node: Process(
                world,
                self.network,
                node,
                self._build,
                self._perform,
                clock=self.clock(node),
                label=f"n{number}",
            )
            for number, node in enumerate(self.nodes)
        }
        self.adversaries: list[Liar] = []
        self.liars: set[str] = set()
        if kind is not None:
            self._corrupt(kind)
        self._parted: set[str] = set()
        self._number = 0
        self._looking: dict[tuple[str, int], set[str]] = {}
        self._seen: dict[str, frozenset[str]] = {}
        """What each node's newest lookup after healing found."""
        self._since: dict[str, set[str]] = {}
        """Whom each node has heard of since it looked last."""

    def _corrupt(self, kind: type[Adversary]) -> None:
        demand(len(self.nodes) > 3, "a fair fight", "of up to three nodes none may lie; take four or more")
        node = self.nodes[0]
        adversary = kind(self.world, self.processes[node], self._keys[node])
        assert isinstance(adversary, Liar)
        adversary.places = self.places
        self.processes[node].mind = adversary
        self.liars.add(node)
        self.adversaries.append(adversary)

    def _build(self, process: Process, records: list[bytes]) -> Seat:
        node, place = process.node, self.places[process.node]
        verify = _believe if self.settings.mutant == "trusting" else self.keyring.verify
        machine = Kademlia(
            self._keys[node], verify, self.world.dice("kademlia", process.label, process.starts),
            hive=HIVE, own=place, admits=self._keys.__contains__, wall=lambda now: process.wall(now) * 1_000,
            settings=_TUNING,
        )  # fmt: skip
        known = tuple(self.places[other] for other in self.nodes[: _FIRST + 1] if other != node)

        def begin() -> None:
            if node not in self._parted:
                process.submit(events.Join(TOPIC, (place,)))
            process.submit(events.Meet(known))

        self.world.after(MILLISECOND, begin)
        return Seat(machine, self.places, self.world)

    def operations(self) -> Sequence[Parting]:
        dice = self.world.dice("parting")
        if len(self.nodes) < 3 or dice.random() < 0.5:
            return ()
        return (Parting(dice.randrange(max(self.settings.span, 1)), len(self.nodes) - 1),)

    def begin(self, operations: Sequence[Parting]) -> None:
        dice = self.world.dice("starts")
        for process in self.processes.values():
            self.world.at(dice.randrange(300) * MILLISECOND, process.start)
        for adversary in self.adversaries:
            adversary.begin()
        for parting in operations:
            node = self.nodes[parting.node]
            self.world.at(parting.at, lambda node=node: self._part(node))  # type: ignore[misc]

    def _part(self, node: str) -> None:
        self.world.cover("an announcement was taken back")
        self._parted.add(node)
        self.processes[node].submit(events.Part(TOPIC))

    # -- what nodes want done ----------------------------------------------------------------------------------

    def _perform(self, process: Process, effect: Any) -> None:
        match effect:
            case events.Found():
                self._found(process, effect)
            case events.Ended():
                if (process.node, effect.number) in self._looking:
                    self._ended(process, effect)
            case events.Outside():
                self.world.note(process.label, "is seen", f"{effect.translation.value} {effect.address}")
            case events.Got() | events.Reached():
                pass
            case _:
                raise TypeError(f"a node wants {effect!r}")

    def _found(self, process: Process, found: events.Found) -> None:
        self.world.cover("found")
        self.world.note(process.label, "finds", self.world.name(found.node))
        if process.node in self.liars or found.node in self.liars:
            return
        who = f"{process.label} finds {self.world.name(found.node)} at {found.addresses}"
        demand(found.addresses == (self.places[found.node],), "genuine", f"{who}, where it never said to be")
        self._since.setdefault(process.node, set()).add(found.node)

    def _ended(self, process: Process, ended: events.Ended) -> None:
        del self._looking[process.node, ended.number]
        self._seen[process.node] = frozenset(self._since.get(process.node, ()))

    # -- what must hold ----------------------------------------------------------------------------------------

    def check(self) -> None:
        """What is found is judged as it is found."""

    def healed(self) -> None:
        for process in self.processes.values():
            process.start()
        self._look()

    def _look(self) -> None:
        for node, process in self.processes.items():
            if node not in self.liars and not any(looking == node for looking, _ in self._looking):
                self._number += 1
                self._looking[node, self._number] = self._since[node] = set()
                process.submit(events.Look(TOPIC, self._number))
        self.world.after(_LOOK, self._look)

    def recovered(self) -> bool:
        return not self._wrong()

    def _wrong(self) -> list[tuple[str, str]]:
        """Who does not find whom, or finds whom it should not."""
        announced = {node for node in self.nodes if node not in self.liars and node not in self._parted}
        return [
            (node, other)
            for node in self.nodes
            if node not in self.liars
            for other in self.nodes
            if other != node and other not in self.liars
            if node not in self._seen or (other in self._seen[node]) != (other in announced)
        ]

    def unmet(self) -> str:
        pairs = ", ".join(f"{self.world.name(a)} of {self.world.name(b)}" for a, b in self._wrong())
        return f"wrong, or not known yet: {pairs}"

    def finish(self) -> None:
        for adversary in self.adversaries:
            for what in adversary.evidence:
                demand(self.world.coverage[what] > 0, "coverage", f"{adversary.name}: {what} never happened")

    @staticmethod
    def describe(message: bytes) -> str:
        read = wire.decode(message)
        if read is None:
            return f"{len(message)} bytes that mean nothing"
        if isinstance(read, wire.Answer):
            carried = f"{len(read.closer)} closer, {len(read.records)} records"
            return f"ANSWER {read.refusal or carried}"
        return type(read.ask).__name__.upper()


def _believe(public: str, message: bytes, signature: bytes) -> bool:
    return True
