"""Faults: a plan made from the seed before anything happens, of values that can be printed, left out and repeated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Final

import msgspec

from hivemind.protocols.machine import MILLISECOND, Micros
from hivemind.sim.network import Network
from hivemind.sim.process import Process
from hivemind.sim.world import World


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    kind: str
    at: Micros
    until: Micros
    """When it is taken back; everything is, at the latest when the world is healed."""
    nodes: tuple[str, ...] = ()
    amount: float = 0.0
    """A rate, or milliseconds; what the kind says."""

    def told(self, name: Callable[[str], str]) -> str:
        """For people; `name` is what nodes are called."""
        nodes = f" {','.join(map(name, self.nodes))}" if self.nodes else ""
        amount = f" {self.amount:g}" if self.amount else ""
        return f"{self.at / 1e6:.3f}s to {self.until / 1e6:.3f}s {self.kind}{nodes}{amount}"


class Stage:
    """What faults happen to."""

    def __init__(self, world: World, network: Network, processes: Mapping[str, Process]) -> None:
        self.world, self.network, self.processes = world, network, processes

    def play(self, plan: Sequence[Fault]) -> None:
        for fault in plan:
            begin, end = KINDS[fault.kind]
            self.world.at(fault.at, lambda begin=begin, fault=fault: self._do(begin, fault, "begins"))  # type: ignore[misc]
            self.world.at(fault.until, lambda end=end, fault=fault: self._do(end, fault, "ends"))  # type: ignore[misc]

    def heal(self) -> None:
        """Everybody is back, on whole links, with clocks that are right from now on."""
        self.world.note("world", "heals")
        self.network.heal()
        for process in self.processes.values():
            process.clock.offset = 0
            process.thaw()
            process.start()

    def _do(self, act: Act, fault: Fault, verb: str) -> None:
        self.world.note("fault", verb, fault.told(self.world.name))
        act(self, fault)


Act = Callable[[Stage, Fault], None]


def _weather(field: str) -> tuple[Act, Act]:
    def begin(stage: Stage, fault: Fault) -> None:
        stage.network.weather = msgspec.structs.replace(stage.network.weather, **{field: fault.amount})

    def end(stage: Stage, fault: Fault) -> None:
        stage.network.weather = msgspec.structs.replace(stage.network.weather, **{field: 0.0})

    return begin, end


def _delay(stage: Stage, fault: Fault) -> None:
    for node in fault.nodes:
        stage.network.slow(node, int(fault.amount) * MILLISECOND)
    stage.world.cover("delay")


def _delay_ends(stage: Stage, fault: Fault) -> None:
    for node in fault.nodes:
        stage.network.slow(node, -int(fault.amount) * MILLISECOND)


def _links(stage: Stage, fault: Fault) -> list[tuple[str, str]]:
    """Between those named and all others, from the one side to the other; of a partition both ways."""
    inside, outside = fault.nodes, [node for node in stage.processes if node not in fault.nodes]
    links = [(a, b) for a in inside for b in outside]
    return links if fault.kind == "one-way" else links + [(b, a) for a, b in links]


def _cut(stage: Stage, fault: Fault) -> None:
    for sender, receiver in _links(stage, fault):
        stage.network.cut(sender, receiver)
    stage.world.cover(fault.kind)


def _mend(stage: Stage, fault: Fault) -> None:
    for sender, receiver in _links(stage, fault):
        stage.network.mend(sender, receiver)


def _each(act: Callable[[Process], None]) -> Act:
    def on_each(stage: Stage, fault: Fault) -> None:
        for node in fault.nodes:
            act(stage.processes[node])

    return on_each


def _skew(stage: Stage, fault: Fault) -> None:
    for node in fault.nodes:
        stage.processes[node].clock.offset = int(fault.amount)
    stage.world.cover("skew")


def _unskew(stage: Stage, fault: Fault) -> None:
    for node in fault.nodes:
        stage.processes[node].clock.offset = 0


def _spare(stage: Stage, fault: Fault) -> None:
    """Who did not write all that time is not struck any more."""
    for node in fault.nodes:
        stage.processes[node].doomed = False
        stage.processes[node].start()


def _upgrade(stage: Stage, fault: Fault) -> None:
    """One node after the other stops and comes back as the next version, which must be able to read what the earlier
    one left, and to agree with those that are not there yet."""
    step = (fault.until - fault.at) // len(fault.nodes)
    wanted = 1 + max(stage.processes[node].version for node in fault.nodes)
    for number, node in enumerate(fault.nodes):
        process = stage.processes[node]
        stage.world.after(number * step, process.crash)
        stage.world.after(number * step + step // 3, lambda process=process: _renew(stage, process, wanted))  # type: ignore[misc]


def _renew(stage: Stage, process: Process, version: int) -> None:
    process.crash()
    process.version = max(process.version, version)
    process.start()
    stage.world.cover("upgrade")
    stage.world.note(process.label, "runs", f"version {process.version}")
    if len({one.version for one in stage.processes.values() if one.up}) > 1:
        stage.world.cover("mixed versions")


def _nothing(stage: Stage, fault: Fault) -> None:
    """There is no way back."""


KINDS: Final[Mapping[str, tuple[Act, Act]]] = {
    "loss": _weather("loss"),
    "duplicate": _weather("duplicate"),
    "reorder": _weather("reorder"),
    "delay": (_delay, _delay_ends),
    "partition": (_cut, _mend),
    "one-way": (_cut, _mend),
    "crash": (_each(Process.crash), _each(Process.start)),
    "power-cut": (_each(Process.crash), _each(Process.start)),
    "torn": (_each(Process.doom), _spare),
    "rot": (_each(Process.rot), _each(Process.start)),
    "amnesia": (_each(Process.lose_disk), _each(Process.start)),
    "freeze": (_each(Process.freeze), _each(Process.thaw)),
    "skew": (_skew, _unskew),
    "upgrade": (_upgrade, _nothing),
}
"""What each kind does when it begins and when it ends. Any crash may tear what was not synced, one that comes in the
middle of a write does; see `disk`."""
LASTING_HARM: Final = ("amnesia", "rot")
"""Whoever suffers it counts as one that may lie."""


def planned(
    dice: Random, kinds: Sequence[str], nodes: Sequence[str], span: Micros, *, harmed: Sequence[str] = ()
) -> tuple[Fault, ...]:
    """One to three of each kind in that span of time, by their beginning. `harmed`: the nodes that may suffer what
    is not made good again; without any there is no such fault."""
    plan = []
    for kind in kinds:
        for _ in range(1 + dice.randrange(3)):
            fault = _planned(dice, kind, nodes, span, harmed)
            if fault is not None:
                plan.append(fault)
    return tuple(sorted(plan, key=lambda fault: (fault.at, fault.kind, fault.nodes)))


def _planned(
    dice: Random, kind: str, nodes: Sequence[str], span: Micros, harmed: Sequence[str]
) -> Fault | None:
    at = span // 20 + dice.randrange(span * 7 // 10)
    until = min(at + span // 20 + dice.randrange(span // 3), span)
    among = harmed if kind in LASTING_HARM else nodes
    if not among:
        return None
    if kind in ("loss", "duplicate", "reorder"):
        return Fault(kind=kind, at=at, until=until, amount=round(0.02 + 0.38 * dice.random(), 3))
    some = {
        "partition": 1 + dice.randrange(max(1, len(nodes) - 1)),
        "power-cut": len(nodes),
        "upgrade": len(nodes),
    }.get(kind, 1)
    struck = tuple(sorted(dice.sample(list(among), min(some, len(among)))))
    amount = {"delay": 5.0 + dice.randrange(100), "skew": dice.randrange(60_000) - 30_000.0}.get(kind, 0.0)
    return Fault(kind=kind, at=at, until=until, nodes=struck, amount=amount)
