"""The world of SWIM: who is there, who says so, and how soon everybody knows who is not.

incarnations      only a member itself raises its own; nobody ever goes back to an earlier one
statuses          of one incarnation they only ascend; who is failed was suspected before
no lone accuser   where there are more than three, one accuser makes nobody failed
no false failure  where nothing is wrong, nobody who is well is held to be failed, whatever f liars say
completeness      who crashes is held to be failed by everybody within seconds
convergence       after healing, everybody is alive to everybody
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from hivemind.protocols.machine import MILLISECOND, SECOND, Micros
from hivemind.protocols.swim import events, wire
from hivemind.protocols.swim.settings import Settings as Tuning
from hivemind.protocols.swim.statements import Alive
from hivemind.protocols.swim.swim import Swim
from hivemind.sim.adversaries.contract import Adversary
from hivemind.sim.adversaries.swim.liar import Liar
from hivemind.sim.keys import Keyring
from hivemind.sim.network import Network, Weather
from hivemind.sim.process import Process
from hivemind.sim.scenario import Scenario, Settings
from hivemind.sim.violation import demand
from hivemind.sim.world import World

HIVE = "sim"
_MTU = 1_200
_KNOWN_BY = 9 * SECOND
"""How long until everybody knows of a crash, confirmations or not."""
_FIRST_CONTACTS = 2


class Leaving(msgspec.Struct, frozen=True):
    """At that time that member says good-bye, and comes back a second later."""

    at: Micros
    node: int


class SwimScenario(Scenario):
    name = "swim"
    patience = 45 * SECOND

    def __init__(self, world: World, settings: Settings, kind: type[Adversary] | None = None) -> None:
        super().__init__(world, settings, kind)
        self.keyring = Keyring(world.seed, real=settings.real_crypto)
        self.network = Network(world, Weather(), mtu=_MTU)
        self.tuning = Tuning()
        keys = {key.public: key for key in (self.keyring.key(f"node {n}") for n in range(settings.nodes))}
        self.nodes = sorted(keys)
        self._keys = keys
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
        self._highest: dict[str, int] = {}
        """The highest incarnation that a member gave itself."""
        self._seen: dict[tuple[str, int, str], tuple[int, events.Status]] = {}
        """Observer, which start of it, and observed -> incarnation and status."""
        self._victim = ""
        self._fell: Micros = 0

    def _corrupt(self, kind: type[Adversary]) -> None:
        demand(len(self.nodes) > 3, "a fair fight", "of up to three members none may lie; take four or more")
        node = self.nodes[0]
        adversary = kind(self.world, self.processes[node], self._keys[node])
        assert isinstance(adversary, Liar)
        adversary.everybody = self.nodes
        self.processes[node].mind = adversary
        self.liars.add(node)
        self.adversaries.append(adversary)

    def _build(self, process: Process, records: list[bytes]) -> Swim:
        """It may have lost its incarnation: then it learns it from the others."""
        remembers = self.world.dice("remembers", process.label, process.starts).random() < 0.7
        me = Alive(process.starts if remembers else 1, (("192.0.2.1", 7_000),))
        machine = Swim(
            me, self._keys[process.node], self.keyring.verify,
            self.world.dice("swim", process.label, process.starts), self.tuning, HIVE,
            allowed=self._keys.__contains__,
        )  # fmt: skip
        contacts = [node for node in self.nodes if node != process.node]
        self.world.after(MILLISECOND, lambda: process.submit(events.Meet(tuple(contacts[:_FIRST_CONTACTS]))))
        return machine

    def operations(self) -> Sequence[Leaving]:
        dice = self.world.dice("leaving")
        if len(self.nodes) < 5 or self.settings.span < 3 * SECOND or dice.random() < 0.5:
            return ()
        back = max(self.settings.span - 2 * SECOND, 1)
        return (Leaving(dice.randrange(back), len(self.nodes) - 1),)

    def begin(self, operations: Sequence[Leaving]) -> None:
        dice = self.world.dice("starts")
        for process in self.processes.values():
            self.world.at(dice.randrange(300) * MILLISECOND, process.start)
        for adversary in self.adversaries:
            adversary.begin()
        for leaving in operations:
            process = self.processes[self.nodes[leaving.node]]
            self.world.at(leaving.at, lambda process=process: self._leave(process))  # type: ignore[misc]

    def _leave(self, process: Process) -> None:
        self.world.cover("leave")
        process.submit(events.Leave())
        self.world.after(SECOND, process.crash)
        self.world.after(2 * SECOND, process.start)

    # -- what members want done --------------------------------------------------------------------------------

    def _perform(self, process: Process, effect: Any) -> None:
        match effect:
            case events.SendReliably():
                self.world.note(process.label, "to", f"{self.world.name(effect.to)} reliably", effect.message)
                self.network.carry(process.node, effect.to, effect.message)
            case events.Measured():
                self.world.cover("round trip measured")
            case events.Joined() | events.Returned() | events.Updated():
                self._changed(process, effect.node, effect.alive.incarnation, events.Status.ALIVE)
            case events.Suspected():
                self.world.cover("suspicion")
                self._changed(process, effect.node, effect.incarnation, events.Status.SUSPECT)
            case events.Failed():
                self._failed(process, effect)
            case events.Left():
                self.world.note(process.label, "sees leave", self.world.name(effect.node))
            case _:
                raise TypeError(f"a member wants {effect!r}")

    def _changed(self, observer: Process, node: str, incarnation: int, status: events.Status) -> None:
        who = f"{observer.label} of {self.world.name(node)}"
        self.world.note(
            observer.label, f"sees {status.name.lower()}", f"{self.world.name(node)} {incarnation}"
        )
        if observer.node in self.liars:
            return
        key = (observer.node, observer.starts, node)
        before, was = self._seen.get(key, (-1, events.Status.ALIVE))
        demand(incarnation >= before, "incarnations", f"{who}: {incarnation} after {before}")
        if incarnation == before and status is not events.Status.ALIVE:
            demand(status >= was, "statuses", f"{who}: {status.name} after {was.name}")
        self._seen[key] = (incarnation, status)
        if node not in self.liars:
            own = self._highest.get(node, 0)
            demand(incarnation <= own, "incarnations", f"{who}: {incarnation}, which it never had ({own})")

    def _failed(self, observer: Process, effect: events.Failed) -> None:
        self.world.cover("failure")
        self._changed(observer, effect.node, effect.incarnation, events.Status.FAILED)
        if observer.node in self.liars:
            return
        who = f"{observer.label} holds {self.world.name(effect.node)} to be failed"
        if len(self.nodes) > 3:
            accusers = len(set(effect.by))
            demand(accusers > 1 or self._few(observer), "no lone accuser", f"{who} by the word of {accusers}")
        well = not self.settings.faults and self.processes[effect.node].up and effect.node not in self.liars
        left = any(process.starts > 1 for process in self.processes.values())
        demand(not well or left, "no false failure", f"{who}, and nothing is wrong")

    def _few(self, observer: Process) -> bool:
        """It knows of at most three."""
        return (
            isinstance(observer.machine, Swim)
            and sum(observer.machine.status(node) is not None for node in self.nodes) <= 2
        )

    # -- what must hold ----------------------------------------------------------------------------------------

    def check(self) -> None:
        """Of every member the highest incarnation that it gave itself."""
        for node, process in self.processes.items():
            if isinstance(process.machine, Swim):
                own = process.machine.me.incarnation
                if own > self._highest.get(node, -1):
                    self._highest[node] = own

    def frail(self) -> tuple[str, ...]:
        """All of them: what a member forgets, others tell it."""
        return tuple(self.nodes)

    def healed(self) -> None:
        for process in self.processes.values():
            process.start()

    def recovered(self) -> bool:
        """Everybody is alive to everybody; then one of them crashes, and everybody learns that."""
        if not self._victim:
            if self._all_see(events.Status.ALIVE, self.nodes):
                self._strike()
            return False
        if self._all_see(events.Status.FAILED, [self._victim]):
            self.world.cover("a crash was found out")
            return True
        late = self.world.now - self._fell > _KNOWN_BY
        demand(not late, "completeness", f"{self.world.name(self._victim)} crashed long ago: {self.unmet()}")
        return False

    def _strike(self) -> None:
        honest = [node for node in self.nodes if node not in self.liars]
        self._victim = self.world.dice("victim").choice(honest)
        self._fell = self.world.now
        self.processes[self._victim].crash()

    def _all_see(self, status: events.Status, observed: Sequence[str]) -> bool:
        return not self._blind(status, observed)

    def _blind(self, status: events.Status, observed: Sequence[str]) -> list[tuple[str, str]]:
        return [
            (observer, node)
            for observer, process in self.processes.items()
            if observer not in self.liars and observer != self._victim
            for node in observed
            if node != observer and node not in self.liars
            if not isinstance(process.machine, Swim) or process.machine.status(node) is not status
        ]

    def unmet(self) -> str:
        wanted = events.Status.FAILED if self._victim else events.Status.ALIVE
        blind = self._blind(wanted, [self._victim] if self._victim else self.nodes)
        pairs = ", ".join(f"{self.world.name(a)} of {self.world.name(b)}" for a, b in blind)
        return f"not {wanted.name.lower()} yet: {pairs}"

    def finish(self) -> None:
        for adversary in self.adversaries:
            for what in adversary.evidence:
                demand(self.world.coverage[what] > 0, "coverage", f"{adversary.name}: {what} never happened")

    @staticmethod
    def describe(message: bytes) -> str:
        read = wire.decode(message)
        if read is None:
            return f"{len(message)} bytes that mean nothing"
        carried = len(getattr(read, "statements", ()))
        return f"{type(read).__name__.upper()} {getattr(read, 'sequence', '')}{f' +{carried}' if carried else ''}"
