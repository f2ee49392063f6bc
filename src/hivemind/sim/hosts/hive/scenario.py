"""The world of the hive: apps are deployed and scaled, nodes crash with what they run, are accused, and come back.

What a node runs survives its daemon. It runs what its own copy of state gives it, and ends what that takes away.

one live allocation    of each slot at most one is live and shall run, in every state that anybody executes
nothing agreed is lost what people were told is in everybody's state at the end
healed                 in the end each slot runs once, on the node that state names, and nothing else runs
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from hivemind.model.allocation import AllocationState, Desired
from hivemind.model.app import AppManifest, AppSpec
from hivemind.model.hive import Epoch
from hivemind.protocols.machine import MILLISECOND, SECOND, Micros, Signer
from hivemind.sim.adversaries.contract import Adversary
from hivemind.sim.hosts.hive.application import HiveApplication, registration
from hivemind.sim.hosts.pbft.application import Command, Executing
from hivemind.sim.hosts.pbft.scenario import PbftScenario
from hivemind.sim.hosts.pbft.site import Site
from hivemind.sim.scenario import Settings
from hivemind.sim.violation import demand
from hivemind.sim.world import World
from hivemind.state.operations import (
    AccuseNode,
    AllocationReport,
    DeployApp,
    Operation,
    ReportAllocations,
    ScaleApp,
    encode_operation,
)

_APPS = ("web", "db", "queue")
_TEND = 100 * MILLISECOND
_AGAIN = SECOND
"""Until a node says again what was not agreed."""
_SUSPECT = 300 * MILLISECOND
"""How long a node is not reached until it is accused."""


class Asked(msgspec.Struct, frozen=True):
    at: Micros
    node: int
    operation: Operation


class HiveScenario(PbftScenario):
    name = "hive"
    patience = 60 * SECOND
    founding: ClassVar[Epoch] = Epoch(number=1, since=2, voters=())

    def __init__(self, world: World, settings: Settings, kind: type[Adversary] | None = None) -> None:
        super().__init__(world, settings, kind)
        self._running: dict[str, set[str]] = {node: set() for node in self.nodes}
        """Node -> ids of what runs there, whether its daemon does or not."""
        self._said: dict[tuple[str, str], Micros] = {}
        self._gone: dict[tuple[str, str], Micros] = {}
        for site in self.sites.values():
            site.after_batch = self._judge

    def genesis(self) -> Executing:
        names = {node: f"n{number}" for number, node in enumerate(self.nodes)}
        return HiveApplication.founded(names, self.people[0].public, self.first)

    def operations(self) -> Sequence[Asked]:
        dice, span = self.world.dice("apps"), self.settings.span
        made: list[Asked] = []
        for app in _APPS:
            spec = AppSpec(image=f"{app}:1")
            manifest = AppManifest(name=app, replicas=1 + dice.randrange(3), spec=spec)
            deploy = DeployApp(project="default", manifest=manifest)
            made.append(Asked(dice.randrange(span // 3), dice.randrange(len(self.nodes)), deploy))
            for _ in range(1 + dice.randrange(3)):
                scale = ScaleApp(project="default", name=app, replicas=dice.randrange(5))
                at = span // 3 + dice.randrange(span * 2 // 3)
                made.append(Asked(at, dice.randrange(len(self.nodes)), scale))
        return sorted(made, key=lambda one: one.at)

    def begin(self, operations: Sequence[Any]) -> None:
        super().begin(())
        for one in operations:
            self.world.at(one.at, lambda one=one: self._order(self.nodes[one.node], one.operation))  # type: ignore[misc]
        self._tend()

    def probe(self, node: str) -> Command:
        return _command(ScaleApp(project="default", name=_APPS[0], replicas=2))

    def prober(self, node: str) -> Signer:
        """Somebody whom state knows: what strangers are refused is not remembered."""
        return self.people[0]

    def _order(self, node: str, operation: Operation) -> None:
        if node not in self.monitor.liars:
            self._ask(node, _command(operation), self.people[0])

    def _say(self, node: str, what: str, operation: Operation) -> None:
        """A node's own word, again and again until it is agreed."""
        if self.world.now - self._said.get((node, what), -_AGAIN) >= _AGAIN:
            self._said[node, what] = self.world.now
            self._ask(node, _command(operation), self.sites[node].signer)

    # -- what nodes do -----------------------------------------------------------------------------------------

    def _tend(self) -> None:
        for node in self.nodes:
            process = self.processes[node]
            if process.up and not process.frozen:
                self._register(node)
                self._run(node)
                self._accuse(node)
        self.world.after(_TEND, self._tend)

    def _state(self, node: str) -> Any:
        application = self.sites[node].application
        assert isinstance(application, HiveApplication)
        return application.state

    def _register(self, node: str) -> None:
        """Each start is a life of its own; so is each return of one that was lost."""
        known = self._state(node).nodes[node]
        life = self.processes[node].starts * 1_000
        if known.incarnation // 1_000 < self.processes[node].starts or known.away:
            incarnation = max(life, known.incarnation + 1)
            self._say(node, "here", registration(node, self.processes[node].label, incarnation))

    def _run(self, node: str) -> None:
        state, running = self._state(node), self._running[node]
        reports = []
        wanted = set()
        for allocation in state.allocations_on(node):
            if not allocation.live:
                continue
            if allocation.desired is Desired.STOP:
                reports.append(AllocationReport(id=allocation.id, state=AllocationState.STOPPED))
                continue
            wanted.add(allocation.id)
            if allocation.state is AllocationState.PLACED:
                reports.append(AllocationReport(id=allocation.id, state=AllocationState.HEALTHY))
        running &= wanted  # ends what was taken from it, first of all
        running |= wanted
        for report in reports:
            self._say(node, f"{report.id} {report.state}", ReportAllocations(node=node, reports=(report,)))

    def _accuse(self, node: str) -> None:
        state = self._state(node)
        for other in self.nodes:
            mind = self.processes[other].mind
            reached = (
                self.processes[other].up
                and not (isinstance(mind, Adversary) and mind.mute)
                and self.network.whole(other, node)
                and self.network.whole(node, other)
            )
            if reached or other == node:
                self._gone.pop((node, other), None)
                continue
            since = self._gone.setdefault((node, other), self.world.now)
            known = state.nodes[other]
            if self.world.now - since >= _SUSPECT and not known.away and node in state.voters:
                self._say(node, f"gone {other}", AccuseNode(node=other, incarnation=known.incarnation))

    # -- what must hold ----------------------------------------------------------------------------------------

    def _judge(self, site: Site) -> None:
        application = site.application
        if not isinstance(application, HiveApplication) or site.process.node in self.monitor.liars:
            return
        slots = Counter((one.app, one.slot) for one in application.live() if one.desired is Desired.RUN)
        twice = [slot for slot, count in slots.items() if count > 1]
        demand(not twice, "one live allocation", f"{site.process.label} at {application.sequence}: {twice}")
        if any(node.lost for node in application.state.nodes.values()):
            self.world.cover("node lost")
        if any(one.state is AllocationState.LOST for one in application.state.allocations.values()):
            self.world.cover("allocation lost")

    def recovered(self) -> bool:
        return super().recovered() and not self._amiss()

    def _amiss(self) -> str:
        """What is not as it should be in the end, for people."""
        reader = self._honest()[0]
        state, live = self._state(reader), HiveApplication.live(self.sites[reader].application)  # type: ignore[arg-type]
        if away := [
            node.name for node in state.nodes.values() if node.away and node.id not in self.monitor.liars
        ]:
            return f"{away} did not come back"
        if state.pending or any(one.state is not AllocationState.HEALTHY for one in live):
            return "some replicas are not healthy"
        for node in self._honest():
            if self._running[node] != {one.id for one in live if one.node == node}:
                return f"{self.world.name(node)} does not run what it should"
        return ""

    def unmet(self) -> str:
        return f"{self._amiss()}; {super().unmet()}"


def _command(operation: Operation) -> Command:
    return Command("operation", value=encode_operation(operation).decode())
