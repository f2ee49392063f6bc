"""The world of the hive: apps are deployed and scaled, nodes crash with what they run, are accused, and come back;
others join, leave, are expelled and take turns in voting, while versions roll through all of them.

What a node runs survives its daemon. It runs what its own copy of state gives it, and ends what that takes away.

one live allocation    of each slot at most one is live and shall run, in every state that anybody executes; one more
                       while it moves away from a node that is drained
nothing agreed is lost what people were told is in everybody's state at the end
one way                what all nodes understand rises and never falls; who understands less does not get in
healed                 in the end each slot runs once, on the node that state names, and nothing else runs; who
                       wanted in is in, who had to go is gone
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, ClassVar

import msgspec

from hivemind.errors import Unsupported
from hivemind.model.allocation import AllocationState, Desired
from hivemind.model.app import AppManifest, AppSpec
from hivemind.model.hive import Epoch, Hive
from hivemind.protocols.machine import MILLISECOND, SECOND, Micros, Signer
from hivemind.protocols.pbft import events, wire
from hivemind.sim.adversaries.contract import Adversary
from hivemind.sim.clock import EPOCH
from hivemind.sim.faults import LASTING_HARM
from hivemind.sim.hosts.hive.application import HIVE, HiveApplication, registration
from hivemind.sim.hosts.hive.turnover import TOKEN, Turnover, arrival, changes, departure, when
from hivemind.sim.hosts.pbft.application import Command, Executing, result
from hivemind.sim.hosts.pbft.scenario import PbftScenario
from hivemind.sim.hosts.pbft.site import Site
from hivemind.sim.scenario import Settings
from hivemind.sim.violation import demand
from hivemind.sim.world import World
from hivemind.state.operations import (
    AccuseNode,
    AllocationReport,
    DeployApp,
    ExpelNode,
    JoinHive,
    LeaveHive,
    Operation,
    ReadyToVote,
    ReportAllocations,
    ReportEvidence,
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
    identities = True

    def __init__(self, world: World, settings: Settings, kind: type[Adversary] | None = None) -> None:
        self._turnover: Turnover
        super().__init__(world, settings, kind)
        self._newcomers = self.nodes[self._turnover.founders :]
        self._wanting: set[str] = set()
        """Of the newcomers those that want in by now."""
        self._current: set[str] = set()
        """Of the newcomers those that were told to take the hive's version first."""
        self._inside = set(self.nodes) - set(self._newcomers)
        """Who belongs to the hive, by its own knowledge."""
        self._gone_for_good: set[str] = set()
        self._apart: set[str] = set()
        """Newcomers that nobody talks to yet."""
        self._joining: dict[str, str] = {}
        """Request -> newcomer."""
        self._known_inside: dict[str, int] = {}
        """Newcomer -> the batch by which it was let in."""
        self._spoken: dict[str, int] = {}
        """Node -> the version that the hive speaks, in its state."""
        self._running: dict[str, set[str]] = {node: set() for node in self.nodes}
        """Node -> ids of what runs there, whether its daemon does or not."""
        self._said: dict[tuple[str, str], Micros] = {}
        self._gone: dict[tuple[str, str], Micros] = {}
        for site in self.sites.values():
            site.after_batch = self._judge
            site.convicted = self._convicted

    def seats(self, *, lying: bool) -> int:
        self._turnover = Turnover.planned(self.world.dice("turnover"), len(self.nodes), lying=lying)
        return self._turnover.voters

    def genesis(self) -> Executing:
        names = {node: f"n{number}" for number, node in enumerate(self.nodes[: self._turnover.founders])}
        hive = Hive(
            id=HIVE,
            name="sim",
            max_voters=self._turnover.most,
            rotation=self._turnover.rotation,
            epoch=self.first,
            since=EPOCH,
        )
        token = self.keyring.identity(TOKEN).public
        return HiveApplication.founded(names, self.people[0].public, hive, token)

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
        return sorted([*made, *self._comings_and_goings()], key=lambda one: one.at)

    def _comings_and_goings(self) -> list[Asked]:
        dice, span, made = self.world.dice("comings and goings"), self.settings.span, list[Asked]()
        for node in self._newcomers:
            number = self.nodes.index(node)
            join = arrival(self.keyring, node, f"n{number}", self.people[0].public, 0)
            made.append(Asked(span // 3 + dice.randrange(span // 2), number, join))
        harmed = set(self.monitor.liars)
        if set(LASTING_HARM) & set(self.settings.faults):
            harmed |= set(self.frail())
        stay = {self.nodes[0], *harmed}
        leavers = [node for node in self.nodes[: self._turnover.founders] if node not in stay]
        count = min(self._turnover.departures(dice, len(harmed)), len(leavers))
        for number, node in enumerate(dice.sample(leavers, count)):
            expelled = number == 0 and dice.random() < 0.5 and self._turnover.expels(len(harmed))
            goes = departure(f"n{self.nodes.index(node)}", expelled=expelled)
            made.append(Asked(when(dice, span), 0, goes))
        return made

    def begin(self, operations: Sequence[Any]) -> None:
        super().begin(())
        self._apart = set(self._newcomers)
        self._isolate()
        for one in operations:
            self.world.at(one.at, lambda one=one: self._order(self.nodes[one.node], one.operation))  # type: ignore[misc]
        self._tend()

    def probe(self, node: str) -> Command:
        return _command(ScaleApp(project="default", name=_APPS[0], replicas=2))

    def prober(self, node: str) -> Signer:
        """Somebody whom state knows: what strangers are refused is not remembered."""
        return self.people[0]

    def _order(self, node: str, operation: Operation) -> None:
        if isinstance(operation, JoinHive):
            self._wanting.add(node)
            return
        if node in self._newcomers or node in self._gone_for_good:
            node = self._honest()[0]
        if isinstance(operation, LeaveHive | ExpelNode):
            self._insist(operation)
        elif node not in self.monitor.liars:
            self._ask(node, _command(operation), self.people[0])

    def _insist(self, operation: LeaveHive | ExpelNode) -> None:
        """People ask for it again, here and there, until it was done."""
        for node in self._honest():
            if operation.node not in {
                one.name for one in self._state(node).nodes.values() if not one.leaving
            }:
                return
            if self.processes[node].up and not self.processes[node].frozen:
                self._ask(node, _command(operation), self.people[0])
                break
        self.world.after(_AGAIN, lambda: self._insist(operation))

    def _say(self, node: str, what: str, operation: Operation) -> str:
        """A node's own word, again and again until it is agreed. The request's id, when it was said now."""
        if self.world.now - self._said.get((node, what), -_AGAIN) < _AGAIN:
            return ""
        self._said[node, what] = self.world.now
        return self._ask(node, _command(operation), self.sites[node].signer)

    # -- who comes and goes --------------------------------------------------------------------------------------

    def _isolate(self) -> None:
        """Nobody talks to who is not let in."""
        for sender, receiver in self._ways():
            self.network.cut(sender, receiver)

    def _ways(self, newcomer: str = "") -> list[tuple[str, str]]:
        """To and from whoever is apart, or that one."""
        apart = {newcomer} if newcomer else self._apart
        return [(a, b) for a in self.nodes for b in self.nodes if a != b and (a in apart or b in apart)]

    def _join(self, newcomer: str) -> None:
        """Through another node, of those that are there."""
        sponsors = [node for node in self._honest() if node in self._inside and self.processes[node].up]
        if not sponsors or newcomer not in self._wanting or newcomer in self._inside:
            return
        if any(newcomer in self._state(node).nodes for node in sponsors):
            self._let_in(newcomer)
            return
        sponsor = sponsors[self.world.now // _AGAIN % len(sponsors)]
        version = self.processes[newcomer].version if newcomer in self._current else 0
        name = self.processes[newcomer].label
        join = arrival(self.keyring, newcomer, name, self.people[0].public, version)
        self._joining[self._say(sponsor, f"join {newcomer}", join)] = newcomer

    def _let_in(self, newcomer: str) -> None:
        self._inside.add(newcomer)
        knows = [node for node in self.nodes if newcomer in self._state(node).nodes]
        self._known_inside[newcomer] = min(self._state(node).sequence for node in knows)
        self.world.cover("a node joined")
        self.world.note(self.processes[newcomer].label, "joins")
        if newcomer in self._apart:
            for sender, receiver in self._ways(newcomer):
                if {sender, receiver} & (self._apart - {newcomer}):
                    continue
                self.network.mend(sender, receiver)
            self._apart.discard(newcomer)

    def _settled(self, site: Site, effect: events.Settled) -> None:
        super()._settled(site, effect)
        newcomer = self._joining.pop(effect.request, "")
        if newcomer and result(effect.result) == Unsupported.code:
            self.world.cover("an old version was refused")
            newest = max(process.version for process in self.processes.values())
            process = self.processes[newcomer]
            self._current.add(newcomer)
            if process.version < newest and process.up:
                process.crash()
                process.version = newest
                process.start()

    def _retire(self, node: str) -> None:
        """It has learned that it belongs to the hive no more."""
        self._gone_for_good.add(node)
        self._running[node].clear()
        for probe in [probe for probe, who in self._probes.items() if who == node]:
            del self._probes[probe]
        expelled = node in self._state(node).expulsions
        self.world.cover("a node was expelled" if expelled else "a node left")
        self.world.note(self.processes[node].label, "goes")
        self.processes[node].crash()

    def _convicted(self, site: Site, effect: events.Convict) -> None:
        """State verifies proofs itself: those of stand-ins prove nothing to it."""
        node = site.process.node
        if self.settings.real_crypto and node not in self.monitor.liars:
            proof = wire.encode(effect.evidence)
            self._say(node, f"proof {effect.culprit}", ReportEvidence(node=effect.culprit, proof=proof))

    def forgotten(self) -> Collection[str]:
        return self._gone_for_good | self.monitor.liars

    def _honest(self) -> list[str]:
        """Who belongs to it and stays, or wants to."""
        outside = set(self._newcomers) - self._wanting - self._inside
        return [node for node in super()._honest() if node not in self._gone_for_good | outside]

    # -- what nodes do -----------------------------------------------------------------------------------------

    def _tend(self) -> None:
        for newcomer in self._newcomers:
            self._join(newcomer)
        for node in sorted(self._inside - self._gone_for_good, key=self.nodes.index):
            process = self.processes[node]
            if process.up and not process.frozen:
                if node not in self._state(node).nodes:
                    self._missing(node)
                    continue
                self._register(node)
                self._run(node)
                self._accuse(node)
        self.world.after(_TEND, self._tend)

    def _state(self, node: str) -> Any:
        application = self.sites[node].application
        assert isinstance(application, HiveApplication)
        return application.state

    def _missing(self, node: str) -> None:
        """Not in its own state: it is gone, unless it has not heard yet that it was let in."""
        if node not in self._newcomers or self._state(node).sequence >= self._known_inside.get(node, 2**62):
            self._retire(node)

    def _register(self, node: str) -> None:
        """Each start is a life of its own; so is each return of one that was lost."""
        known = self._state(node).nodes[node]
        life = self.processes[node].starts * 1_000
        if known.incarnation // 1_000 < self.processes[node].starts or known.away:
            incarnation = max(life, known.incarnation + 1)
            process = self.processes[node]
            self._say(node, "here", registration(node, process.label, incarnation, process.version))
        elif not known.ready and not known.leaving:
            self._say(node, "ready", ReadyToVote(node=node))

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
        for other in list(state.nodes):
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
        nodes = application.state.nodes
        running = [one for one in application.live() if one.desired is Desired.RUN]
        staying = Counter(
            (one.app, one.slot) for one in running if not (one.node in nodes and nodes[one.node].drained)
        )
        anywhere = Counter((one.app, one.slot) for one in running)
        twice = [slot for slot, count in anywhere.items() if staying[slot] > 1 or count > 2]
        demand(not twice, "one live allocation", f"{site.process.label} at {application.sequence}: {twice}")
        hive = application.state.hive_record
        assert hive is not None
        process = site.process
        spoken = self._spoken.get(process.node, 0)
        self._spoken[process.node] = hive.protocol
        falls = hive.protocol < spoken and not process.forgot
        demand(not falls, "one way", f"{process.label} speaks {hive.protocol} after {spoken}")
        if hive.protocol > spoken > 0:
            self.world.cover("a newer version is spoken")
        for what in changes(hive.change):
            self.world.cover(what)
        if self.monitor.liars & application.state.expulsions.keys():
            self.world.cover("a liar was expelled")
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
        if leaving := [node.name for node in state.nodes.values() if node.leaving]:
            return f"{leaving} cannot go"
        if outside := [self.world.name(node) for node in self._honest() if node not in state.nodes]:
            return f"{outside} did not get in"
        common = min(node.protocol for node in state.nodes.values())
        if state.hive_record is None or state.hive_record.protocol != common:
            return f"all understand version {common}, and another is spoken"
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
