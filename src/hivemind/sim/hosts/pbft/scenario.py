"""The world of PBFT: voters, learners, people who ask, and a history of what they were answered."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, ClassVar

import msgspec

from hivemind.model.hive import Epoch
from hivemind.protocols.machine import MILLISECOND, SECOND, Micros, Signer
from hivemind.protocols.pbft import events
from hivemind.protocols.pbft.quorum import faulty
from hivemind.protocols.pbft.settings import Settings as Tuning
from hivemind.sim.adversaries.contract import Adversary
from hivemind.sim.adversaries.pbft.liar import Liar
from hivemind.sim.adversaries.pbft.state import CorruptState
from hivemind.sim.faults import LASTING_HARM
from hivemind.sim.hosts.pbft.application import Application, Command, Executing, Kind, request, result
from hivemind.sim.hosts.pbft.packets import described
from hivemind.sim.hosts.pbft.site import HIVE, Site
from hivemind.sim.invariants.pbft import Monitor
from hivemind.sim.keys import Keyring
from hivemind.sim.linearizability import FOREVER, Operation, first_contradiction
from hivemind.sim.network import Network, Weather
from hivemind.sim.process import Process
from hivemind.sim.scenario import Scenario, Settings
from hivemind.sim.violation import demand
from hivemind.sim.world import World

_KEYS = 3
_PROBE = "probe"
_FIRST = Epoch(number=1, since=1, voters=())


class Wish(msgspec.Struct, frozen=True):
    """At that time, somebody at that node asks for this."""

    at: Micros
    node: int
    command: Command


class PbftScenario(Scenario):
    """Three of four nodes vote, or all of up to four; the others learn. Some wishes change who votes."""

    name = "pbft"
    patience = 30 * SECOND
    founding: ClassVar[Epoch] = _FIRST
    identities: ClassVar[bool] = False
    """Whether state verifies what nodes signed."""

    def __init__(self, world: World, settings: Settings, kind: type[Adversary] | None = None) -> None:
        super().__init__(world, settings, kind)
        self._dice = world.dice("scenario")
        self.keyring = Keyring(world.seed, real=settings.real_crypto, identities=self.identities)
        self.network = Network(world, Weather())
        keys = {key.public: key for key in (self.keyring.key(f"node {n}") for n in range(self._count(kind)))}
        self.nodes = sorted(keys)
        self.people = [self.keyring.key(f"person {number}") for number in range(len(keys))]
        self.voters = tuple(self.nodes[: self.seats(lying=kind is not None)])
        first = self.first = msgspec.structs.replace(self.founding, voters=self.voters)
        self.monitor = Monitor(HIVE, self.keyring.verify, first, safe=kind is None or not kind.beyond)
        self.monitor.changing = lambda node: self.sites[node].application.next is not None
        self.tuning = self._tuned(impatient=kind is not None and kind.name == CorruptState.name)
        kept = self._dice.choice(
            (self.tuning.log, 10_000)
        )  # less than what may be voted on again is not allowed
        self.sites: dict[str, Site] = {}
        self.processes = {}
        for number, node in enumerate(self.nodes):
            site = Site(
                keys[node],
                self.keyring.verify,
                first,
                self.tuning,
                self.monitor,
                self.sites,
                kept=kept,
                genesis=self.genesis,
            )
            site.process = self.processes[node] = Process(
                world, self.network, node, site.build, site.perform,
                witness=self.monitor.said, forgets=site.forget, clock=self.clock(node), label=f"n{number}",
            )  # fmt: skip
            site.settled = self._settled
            self.sites[node] = site
        self.adversaries: list[Liar] = []
        if kind is not None:
            self._corrupt(kind)
        self._nonce = 0
        self._asked: dict[str, Operation] = {}
        self._probes: dict[str, str] = {}
        """What is waited for in the end -> the node that waits for it."""

    def genesis(self) -> Executing:
        """What is agreed before anything is."""
        return Application(sequence=self.first.since - 1, time=0, epoch=self.first)

    def seats(self, *, lying: bool) -> int:
        """How many of the nodes vote at first."""
        count = len(self.nodes)
        return count - (count // 4 if count > 4 and self._dice.random() < 0.5 else 0)

    def _count(self, kind: type[Adversary] | None) -> int:
        return kind.nodes if kind is not None and kind.nodes is not None else self.settings.nodes

    def _corrupt(self, kind: type[Adversary]) -> None:
        count = faulty(len(self.voters)) + (1 if kind.beyond else 0)
        demand(count > 0, "a fair fight", f"of {len(self.voters)} voters none may lie; take four or more")
        for node in kind.liars(self.voters, count):
            adversary = kind(self.world, self.processes[node], self.sites[node].signer)
            assert isinstance(adversary, Liar)
            adversary.site, adversary.span = self.sites[node], self.settings.span
            self.processes[node].mind = adversary
            self.monitor.liars.add(node)
            self.adversaries.append(adversary)

    def _tuned(self, *, impatient: bool) -> Tuning:
        """Small numbers, so that short runs see checkpoints, full windows and state transfers."""
        interval = self._dice.choice((4, 8, 16))
        return Tuning(
            checkpoint_interval=interval,
            log=interval * self._dice.choice((2, 3)),
            pipeline=self._dice.choice((1, 4, 8)),
            batch_requests=self._dice.choice((1, 4, 64)),
            batch_delay=2 * MILLISECOND,
            request_timeout=250 * MILLISECOND,
            view_change_timeout=250 * MILLISECOND,
            view_change_limit=4 * SECOND,
            status_interval=60 * MILLISECOND,
            idle_interval=500 * MILLISECOND,
            replay_gap=2 if impatient else self._dice.choice((4, 30, 2_000)),
        )

    # -- what is asked -----------------------------------------------------------------------------------------

    def operations(self) -> Sequence[Any]:
        dice, span = self.world.dice("wishes"), self.settings.span
        wishes = [self._wish(dice.randrange(span)) for _ in range(int(12 * self.settings.seconds) + 6)]
        if len(self.nodes) > 4 and not any(adversary.same_voters for adversary in self.adversaries):
            wishes += [self._change(dice.randrange(span * 2 // 3)) for _ in range(1 + dice.randrange(2))]
        return sorted(wishes, key=lambda wish: (wish.at, wish.node))

    def _wish(self, at: Micros) -> Wish:
        dice = self.world.dice("wish", at)
        key, value = f"k{dice.randrange(_KEYS)}", f"v{dice.randrange(4)}"
        kind: Kind = dice.choice(("get", "get", "put", "put", "cas", "cas", "timer"))
        if kind == "timer":
            command = Command("timer", value=str(dice.randrange(300)))
        else:
            command = Command(kind, key, value, dice.choice((None, "v0", "v1", "v2", "v3")))
        return Wish(at, dice.randrange(len(self.nodes)), command)

    def _change(self, at: Micros) -> Wish:
        """Other voters: as many as tolerate those that lie."""
        dice = self.world.dice("change", at)
        liars = [node for node in self.nodes if node in self.monitor.liars]
        harmed = len(liars) + (len(self.frail()) if set(LASTING_HARM) & set(self.settings.faults) else 0)
        fewest = max(3 * harmed + 1, 3)
        others = [node for node in self.nodes if node not in liars]
        chosen = self.voters
        for _ in range(8):  # others than now, where the liars leave a choice
            if chosen != self.voters:
                break
            count = max(fewest - len(liars), 1 + dice.randrange(len(others)))
            chosen = tuple(sorted([*liars, *dice.sample(others, min(count, len(others)))]))
        return Wish(at, self.nodes.index(dice.choice(others)), Command("voters", value=",".join(chosen)))

    def begin(self, operations: Sequence[Any]) -> None:
        for process in self.processes.values():
            process.start()
        for adversary in self.adversaries:
            adversary.begin()
        for wish in operations:
            self.world.at(wish.at, lambda wish=wish: self._do(wish))  # type: ignore[misc]

    def _do(self, wish: Wish) -> None:
        self._ask(self.nodes[wish.node], wish.command)

    def _ask(self, node: str, command: Command, person: Signer | None = None) -> str:
        """`person`: whose wish it is; of those who ask at a node that lies, nobody is."""
        process = self.processes[node]
        if not process.up or process.frozen or (person is None and node in self.monitor.liars):
            return ""
        person = person or self.people[self.nodes.index(node)]
        self._nonce += 1
        asked = request(person, self._nonce, node, command)
        self.monitor.wished.add(asked.id)
        if command.kind in ("get", "put", "cas"):
            self._asked[asked.id] = Operation(
                client=process.label, key=command.key, kind=command.kind, called=self.world.now,
                value=command.value, expected=command.expected,
            )  # fmt: skip
        self.world.note(
            process.label, "asks", f"{self._nonce} {command.kind} {command.key} {command.value[:8]}"
        )
        process.submit(events.Submitted(asked))
        return asked.id

    def _settled(self, site: Site, effect: events.Settled) -> None:
        if site.process.node in self.monitor.liars:
            return
        answer = result(effect.result)
        self.world.note(site.process.label, "is told", f"{effect.request.rpartition('/')[2]} {answer}")
        self.world.cover("settled")
        self._probes.pop(effect.request, None)
        self.monitor.settled(site, effect)
        asked = self._asked.get(effect.request)
        if asked is not None and asked.answered == FOREVER:
            self._asked[effect.request] = msgspec.structs.replace(
                asked, answered=self.world.now, result=answer
            )

    # -- what must hold ----------------------------------------------------------------------------------------

    def check(self) -> None:
        """The monitor has looked at everything when it happened."""

    def frail(self) -> tuple[str, ...]:
        spare = faulty(len(self.voters)) - len(self.monitor.liars)
        honest = [node for node in self.voters if node not in self.monitor.liars]
        return tuple(honest[-spare:]) if spare > 0 else ()

    def healed(self) -> None:
        """Everybody honest has one more wish, and must be told."""
        for adversary in self.adversaries:
            adversary.healed()
        for node in self._honest():
            self._probes[self._ask(node, self.probe(node), self.prober(node))] = node

    def probe(self, node: str) -> Command:
        return Command("put", _PROBE, self.processes[node].label)

    def prober(self, node: str) -> Signer:
        """Whose wish that is."""
        return self.people[self.nodes.index(node)]

    def _honest(self) -> list[str]:
        return [node for node in self.nodes if node not in self.monitor.liars]

    def forgotten(self) -> Collection[str]:
        """Whose wishes nobody remembers any more."""
        return ()

    def recovered(self) -> bool:
        if self._probes and not self._beyond():
            return False
        if self._beyond():
            return bool(self.monitor.convictions) or not self.monitor.forks
        positions = {self._position(node) for node in self._honest()}
        return len(positions) == 1 and self._epoch_is_whole() and not self._timers_late()

    def _position(self, node: str) -> int:
        return self.sites[node].application.sequence

    def _epoch_is_whole(self) -> bool:
        return all(self.sites[node].application.next is None for node in self._honest())

    def _timers_late(self) -> bool:
        applications = [self.sites[node].application for node in self._honest()]
        return any(isinstance(one, Application) and one.timers for one in applications)

    def _beyond(self) -> bool:
        return any(adversary.beyond for adversary in self.adversaries)

    def unmet(self) -> str:
        told = []
        for node in self.nodes:
            site = self.sites[node]
            standing = site.replica.standing() if site.replica is not None else None
            state = (
                f"{standing.role} epoch {standing.epoch.number} view {standing.view}"
                f"{'' if standing.active else ' changing'} executed {standing.executed} agreed {standing.agreed}"
                f" stable {standing.stable} pending {standing.pending}{' syncing' if standing.syncing else ''}"
                if standing is not None
                else "down"
            )
            told.append(f"{site.process.label}{'*' if node in self.monitor.liars else ''}: {state}")
        return f"{len(self._probes)} wishes are not settled; " + "; ".join(told)

    def finish(self) -> None:
        for adversary in self.adversaries:
            for what in adversary.evidence:
                demand(self.world.coverage[what] > 0, "coverage", f"{adversary.name}: {what} never happened")
            if adversary.convicts and not (adversary.calm and self.settings.faults):
                found = any(culprit in self.monitor.liars for _, culprit in self.monitor.convictions)
                demand(found, "detection", f"nobody can prove what {adversary.name} did")
        if self._beyond():
            return
        contradiction = first_contradiction(self._asked.values())
        demand(contradiction is None, "linearizability", f"the history of {contradiction} is impossible")
        for node in self._honest():
            results = self.sites[node].application.results
            self.monitor.kept_all(self.sites[node], results, but=self.forgotten())
            digest = self.sites[node].application.digest()
            demand(
                digest == self.sites[self._honest()[0]].application.digest(),
                "agreement", f"{self.processes[node].label} has another state",
            )  # fmt: skip

    @staticmethod
    def describe(message: bytes) -> str:
        return described(message)
