"""A toy to test the simulator itself: single-decree Paxos for each of a few slots, and defects to plant in it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import msgspec

from hivemind.protocols.machine import MILLISECOND, Micros, Persist, Received, Send
from hivemind.sim.network import Network, Weather
from hivemind.sim.process import Process
from hivemind.sim.scenario import Scenario, Settings
from hivemind.sim.violation import demand
from hivemind.sim.world import World

SLOTS = 3
_RETRY = 60 * MILLISECOND
Ballot = tuple[int, str]


class Prepare(msgspec.Struct, frozen=True, tag=True, array_like=True):
    slot: int
    ballot: Ballot


class Promise(msgspec.Struct, frozen=True, tag=True, array_like=True):
    slot: int
    ballot: Ballot
    accepted: Ballot
    value: str


class Accept(msgspec.Struct, frozen=True, tag=True, array_like=True):
    slot: int
    ballot: Ballot
    value: str


class Accepted(msgspec.Struct, frozen=True, tag=True, array_like=True):
    slot: int
    ballot: Ballot
    value: str


Message = Prepare | Promise | Accept | Accepted


class Decided(msgspec.Struct, frozen=True):
    slot: int
    value: str


class Vote(msgspec.Struct, frozen=True, array_like=True):
    slot: int
    promised: Ballot
    accepted: Ballot
    value: str


class Synod:
    """Proposer, acceptor and learner of every slot. `mutant`: `forgets`, `small quorum`, `hash order`, `raises`,
    `stops`."""

    def __init__(
        self, node: str, nodes: Sequence[str], dice: Random, records: Sequence[bytes], mutant: str
    ) -> None:
        self._node, self._nodes, self._dice, self._mutant = node, nodes, dice, mutant
        self._quorum = len(nodes) // 2 + (0 if mutant == "small quorum" else 1)
        none = (0, "")
        self._votes = {slot: Vote(slot, none, none, "") for slot in range(SLOTS)}
        for record in records:
            vote = msgspec.msgpack.decode(record, type=Vote)
            self._votes[vote.slot] = vote
        self._round = {slot: self._votes[slot].promised[0] for slot in range(SLOTS)}
        self._ballots: dict[int, Ballot] = {}
        self._promises: dict[int, dict[str, Promise]] = {}
        self._accepted: dict[tuple[int, Ballot], set[str]] = {}
        self.decided: dict[int, str] = {}
        self._at: Micros = self._dice.randrange(8 * _RETRY)
        self._own: list[Message] = []

    def handle(self, event: Any, now: Micros) -> list[Any]:
        effects: list[Any] = []
        if isinstance(event, Received):
            self._on(event.sender, msgspec.msgpack.decode(event.message, type=Message), effects)
        elif now >= self._at:
            self._at = now + _RETRY + self._dice.randrange(_RETRY)
            for slot in range(SLOTS):
                if slot not in self.decided and self._mutant != "stops":
                    self._propose(slot, effects)
        while self._own:
            self._on(self._node, self._own.pop(0), effects)
        return effects

    def deadline(self) -> Micros | None:
        return None if len(self.decided) == SLOTS else self._at

    def check(self) -> None:
        assert all(vote.accepted <= vote.promised for vote in self._votes.values())

    def _propose(self, slot: int, effects: list[Any]) -> None:
        self._round[slot] += 1
        ballot = self._ballots[slot] = (self._round[slot], self._node)
        self._promises[slot] = {}
        self._tell(Prepare(slot, ballot), effects)

    def _tell(self, message: Message, effects: list[Any], to: str = "") -> None:
        others = set(self._nodes) if self._mutant == "hash order" else self._nodes
        for node in [to] if to else others:
            if node == self._node:
                self._own.append(message)
            else:
                effects.append(Send(node, msgspec.msgpack.encode(message)))

    def _keep(self, vote: Vote, effects: list[Any]) -> None:
        self._votes[vote.slot] = vote
        if self._mutant != "forgets":
            effects.append(Persist(msgspec.msgpack.encode(vote)))

    def _on(self, sender: str, message: Message, effects: list[Any]) -> None:
        vote = self._votes[message.slot]
        self._round[message.slot] = max(self._round[message.slot], message.ballot[0])
        if isinstance(message, Prepare) and message.ballot > vote.promised:
            self._keep(msgspec.structs.replace(vote, promised=message.ballot), effects)
            self._tell(Promise(message.slot, message.ballot, vote.accepted, vote.value), effects, sender)
        elif isinstance(message, Promise) and message.ballot == self._ballots.get(message.slot):
            self._promised(sender, message, effects)
        elif isinstance(message, Accept) and message.ballot >= vote.promised:
            self._keep(Vote(message.slot, message.ballot, message.ballot, message.value), effects)
            self._tell(Accepted(message.slot, message.ballot, message.value), effects)
        elif isinstance(message, Accepted):
            who = self._accepted.setdefault((message.slot, message.ballot), set())
            who.add(sender)
            if len(who) >= self._quorum and message.slot not in self.decided:
                if self._mutant == "raises" and message.slot == 1:
                    raise ValueError("a defect")
                self.decided[message.slot] = message.value
                effects.append(Decided(message.slot, message.value))

    def _promised(self, sender: str, message: Promise, effects: list[Any]) -> None:
        promises = self._promises[message.slot]
        promises[sender] = message
        if len(promises) == self._quorum:
            newest = max(promises.values(), key=lambda promise: promise.accepted)
            value = newest.value if newest.accepted[0] else f"{self._node}'s"
            self._tell(Accept(message.slot, message.ballot, value), effects)


class SynodScenario(Scenario):
    name = "synod"
    patience = 5_000 * MILLISECOND

    def __init__(self, world: World, settings: Settings) -> None:
        super().__init__(world, settings, None)
        self.network = Network(world, Weather())
        self.processes = {}
        for node in [f"n{number}" for number in range(settings.nodes)]:
            self.processes[node] = Process(
                world, self.network, node, self._build, self._perform, clock=self.clock(node)
            )
        self._decisions: dict[int, str] = {}

    def operations(self) -> Sequence[Any]:
        return ()

    def begin(self, operations: Sequence[Any]) -> None:
        for process in self.processes.values():
            process.start()

    def _build(self, process: Process, records: list[bytes]) -> Synod:
        dice = self.world.dice("node", process.node, process.starts)
        return Synod(process.node, tuple(self.processes), dice, records, self.settings.mutant)

    def _perform(self, process: Process, effect: Decided) -> None:
        self.world.note(process.label, "decides", f"{effect.slot} {effect.value}")
        first = self._decisions.setdefault(effect.slot, effect.value)
        demand(first == effect.value, "agreement", f"slot {effect.slot} is {first} and {effect.value}")

    def check(self) -> None:
        pass

    def healed(self) -> None:
        pass

    def finish(self) -> None:
        pass

    def recovered(self) -> bool:
        machines = [process.machine for process in self.processes.values()]
        return all(isinstance(one, Synod) and len(one.decided) == SLOTS for one in machines)

    def unmet(self) -> str:
        return "some slots are not decided"

    @staticmethod
    def describe(message: bytes) -> str:
        return str(msgspec.msgpack.decode(message, type=Message))
