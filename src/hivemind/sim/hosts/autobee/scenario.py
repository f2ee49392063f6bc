"""The world of the shared store: everybody writes its own keys and some shared ones.

own writes           what a writer kept of its own keys is what everybody reads in the end
convergence          after healing all views have the same digest
nothing invented     no value is read that nobody wrote
no false conviction  nobody honest is convicted
detection            whoever shows different logs to different nodes is convicted everywhere
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from hivemind.protocols.autobee import steps, wire
from hivemind.protocols.autobee.replica import Replica
from hivemind.protocols.machine import MILLISECOND, SECOND, Micros
from hivemind.sim.adversaries.autobee.liar import Liar
from hivemind.sim.adversaries.contract import Adversary
from hivemind.sim.hosts.autobee.keeper import Durable, Keeper
from hivemind.sim.keys import Keyring
from hivemind.sim.network import Network, Weather
from hivemind.sim.process import Process
from hivemind.sim.scenario import Scenario, Settings
from hivemind.sim.violation import demand
from hivemind.sim.world import World

HIVE = "sim"
_SHARED = 3


class Written(msgspec.Struct, frozen=True):
    """At that time that node writes this; None deletes."""

    at: Micros
    node: int
    key: str
    value: bytes | None


class AutobeeScenario(Scenario):
    name = "autobee"
    patience = 40 * SECOND

    def __init__(self, world: World, settings: Settings, kind: type[Adversary] | None = None) -> None:
        super().__init__(world, settings, kind)
        self.keyring = Keyring(world.seed, real=settings.real_crypto)
        self.network = Network(world, Weather())
        self._keys = {
            key.public: key for key in (self.keyring.key(f"node {n}") for n in range(settings.nodes))
        }
        self.nodes = sorted(self._keys)
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
        self._values: set[bytes] = set()
        self._own: dict[str, dict[str, bytes | None]] = {node: {} for node in self.nodes}
        self._linked: dict[tuple[str, str], bool] = {}
        self.liars: set[str] = set()
        self.convicted: set[tuple[str, str]] = set()
        self.adversaries: list[Liar] = []
        if kind is not None:
            self._corrupt(kind)

    def _corrupt(self, kind: type[Adversary]) -> None:
        demand(len(self.nodes) > 2, "a fair fight", "a liar needs two to lie to")
        node = self.nodes[0]
        adversary = kind(self.world, self.processes[node], self._keys[node])
        assert isinstance(adversary, Liar)
        adversary.twin = Keeper([], lambda kept: self._replica(self.processes[node], kept))
        adversary.everybody = self.nodes
        self.processes[node].mind = adversary
        self.liars.add(node)
        self.adversaries.append(adversary)

    def _build(self, process: Process, records: list[bytes]) -> Keeper:
        keeper = Keeper(records, lambda kept: self._replica(process, kept))
        start = process.starts
        self.world.after(1, lambda: self._meet(process, start, forgot=process.forgot and not records))
        return keeper

    def _replica(self, process: Process, kept: list[steps.Restored]) -> Replica:
        return Replica(
            hive=HIVE,
            signer=self._keys[process.node],
            verify=self.keyring.verify,
            wall=process.wall,
            settings=steps.Settings(repair=300 * MILLISECOND, promise=SECOND, patience=500 * MILLISECOND),
            restored=kept,
        )

    def _meet(self, process: Process, start: int, *, forgot: bool) -> None:
        """Admitted, it is connected with whoever is up; others hear that it was gone."""
        if not process.up or process.starts != start:
            return
        if forgot:
            self._own[process.node].clear()
        process.submit(steps.Admit(tuple(self.nodes)))
        for node, other in self.processes.items():
            if other is not process and other.up:
                process.submit(steps.Linked(node, True))
                other.submit(steps.Linked(process.node, False))
                other.submit(steps.Linked(process.node, True))

    # -- what is written ---------------------------------------------------------------------------------------

    def operations(self) -> Sequence[Written]:
        dice, made = self.world.dice("writes"), []
        for number in range(int(20 * self.settings.seconds) + 5):
            node = dice.randrange(len(self.nodes))
            own = dice.random() < 0.7
            key = f"{node}/{dice.randrange(4)}" if own else f"shared/{dice.randrange(_SHARED)}"
            value = None if dice.random() < 0.15 else b"%d" % number
            made.append(Written(dice.randrange(self.settings.span), node, key, value))
        return sorted(made, key=lambda one: one.at)

    def begin(self, operations: Sequence[Written]) -> None:
        for process in self.processes.values():
            process.start()
        for adversary in self.adversaries:
            adversary.begin()
        for one in operations:
            self.world.at(one.at, lambda one=one: self._write(one))  # type: ignore[misc]

    def _write(self, one: Written) -> None:
        process = self.processes[self.nodes[one.node]]
        if not process.up or process.frozen:
            return
        self.world.note(process.label, "writes", f"{one.key} {one.value!r}")
        if one.value is not None:
            self._values.add(one.value)
        process.submit(steps.Write(((one.key, one.value),), process.wall(process.now)))

    def _perform(self, process: Process, effect: Any) -> None:
        match effect:
            case Durable():
                process.submit(steps.Stored())
            case steps.Convict():
                self.world.cover("conviction")
                self.world.note(process.label, "convicts", self.world.name(effect.writer))
                guilty = effect.writer in self.liars or process.node in self.liars
                demand(
                    guilty,
                    "no false conviction",
                    f"{process.label} convicts {self.world.name(effect.writer)}",
                )
                self.convicted.add((process.node, effect.writer))
            case steps.Exposed():
                self.world.note(process.label, "hears that others can convict it")
                demand(process.node in self.liars, "no false conviction", f"{process.label} is exposed")
            case steps.Changed():
                self._changed(process, effect)
            case _:
                raise TypeError(f"a store wants {effect!r}")

    def _changed(self, process: Process, effect: steps.Changed) -> None:
        for entry in effect.entries:
            invented = entry.value is not None and entry.value not in self._values
            honest = entry.writer not in self.liars and process.node not in self.liars
            demand(not (invented and honest), "nothing invented", f"{process.label} reads {entry.value!r}")

    # -- what must hold ----------------------------------------------------------------------------------------

    def check(self) -> None:
        """Judged when it happens, and at the end."""

    def frail(self) -> tuple[str, ...]:
        return tuple(node for node in self.nodes if node not in self.liars)

    def healed(self) -> None:
        """Connections that broke are made anew; everybody writes once more."""
        for process in self.processes.values():
            self._meet(process, process.starts, forgot=False)
        for number, node in enumerate(self._honest()):
            value = b"last %d" % number
            self._own[node][f"last/{number}"] = value
            self._write(Written(self.world.now, self.nodes.index(node), f"last/{number}", value))

    def _honest(self) -> list[str]:
        return [node for node in self.nodes if node not in self.liars]

    def _views(self) -> list[Any]:
        machines = [self.processes[node].machine for node in self._honest()]
        return [machine.replica.order.view for machine in machines if isinstance(machine, Keeper)]

    def recovered(self) -> bool:
        if self.world.events % 64:  # digests of whole views: not after every message
            return False
        return self._agreed()

    def _agreed(self) -> bool:
        views = self._views()
        for node in self._honest():
            for key, value in self._own[node].items():
                if any((entry := view.get(key)) is None or entry.value != value for view in views):
                    return False
        if self._undetected():
            return False
        return len(views) == len(self._honest()) and len({view.digest() for view in views}) == 1

    def _undetected(self) -> bool:
        guilty = [one.process.node for one in self.adversaries if one.convicts]
        return any((node, writer) not in self.convicted for writer in guilty for node in self._honest())

    def unmet(self) -> str:
        views = "; ".join(
            f"{self.world.name(node)}: {len(view)} keys, {view.digest().hex()[:6]}"
            for node, view in zip(self._honest(), self._views(), strict=False)
        )
        return f"{'somebody is not convicted yet; ' if self._undetected() else ''}{views}"

    def finish(self) -> None:
        self.world.cover("views agree")
        for adversary in self.adversaries:
            for what in adversary.evidence:
                demand(self.world.coverage[what] > 0, "coverage", f"{adversary.name}: {what} never happened")

    @staticmethod
    def describe(message: bytes) -> str:
        read = wire.decode(message)
        return type(read).__name__.upper() if read is not None else f"{len(message)} bytes that mean nothing"
