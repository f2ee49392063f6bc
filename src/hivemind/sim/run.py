"""One run: a world under the faults of its seed, then healed, and progress demanded."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from hivemind.sim.faults import Fault, planned
from hivemind.sim.scenario import Scenario, Settings
from hivemind.sim.violation import Violation, demand
from hivemind.sim.world import World

T = TypeVar("T")
Make = Callable[[World, Settings], Scenario]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    settings: Settings
    rule: str = ""
    """The invariant that did not hold; empty: all did."""
    story: str = ""
    digest: str
    """Of all that happened: equal seeds give equal ones."""
    events: int
    ended: int
    """Microseconds of the world's time."""
    plan: tuple[Fault, ...]
    """The faults that happened."""
    told: tuple[str, ...]
    """The same, for people."""
    operations: int
    coverage: dict[str, int]
    trace: tuple[str, ...] = ()
    """The newest lines; of a run that failed, or when asked for."""

    @property
    def failed(self) -> bool:
        return bool(self.rule)


def run(settings: Settings, make: Make, *, trace: bool = False, limit: int = 150_000) -> Outcome:
    """`make` builds the scenario in an empty world. With `trace` every line is kept."""
    world = World(settings.seed, keep=10_000_000 if trace else 400, limit=limit)
    scenario = make(world, settings)
    world.trace.describe = scenario.describe
    kinds = _in_their_order(settings.faults)
    everything = planned(
        world.dice("faults"), kinds, tuple(scenario.processes), settings.span, harmed=scenario.frail()
    )
    plan = chosen(everything, settings.only_faults)
    operations = chosen(scenario.operations(), settings.only_operations)
    rule, story = "", ""
    collecting = gc.isenabled()
    gc.disable()  # thousands of short worlds: what one leaves behind is collected when it is over
    try:
        _live(world, scenario, plan, operations)
    except Violation as violation:
        rule, story = violation.rule, violation.story
        world.note("world", "breaks", str(violation))
    finally:
        if collecting:
            gc.enable()
    return Outcome(
        settings=settings,
        rule=rule,
        story=story,
        digest=world.trace.digest,
        events=world.events,
        ended=world.now,
        plan=tuple(plan),
        told=tuple(fault.told(world.name) for fault in plan),
        operations=len(operations),
        coverage=dict(sorted(world.coverage.items())),
        trace=tuple(world.trace.lines()) if trace or rule else (),
    )


def _live(world: World, scenario: Scenario, plan: Sequence[Fault], operations: Sequence[object]) -> None:
    stage = scenario.stage()
    scenario.begin(operations)
    stage.play(plan)
    world.run(scenario.settings.span, scenario.check)
    stage.heal()
    scenario.healed()
    world.run(world.now + scenario.patience, scenario.check, scenario.recovered)
    demand(
        scenario.recovered(),
        "progress after healing",
        f"{scenario.patience / 1e6:g} s after everything was well again: {scenario.unmet()}",
    )
    scenario.finish()


def chosen(everything: Sequence[T], numbers: Sequence[int] | None) -> tuple[T, ...]:
    if numbers is None:
        return tuple(everything)
    return tuple(everything[number] for number in numbers if number < len(everything))


def _in_their_order(kinds: Sequence[str]) -> list[str]:
    """Each once, whatever order they were asked for in."""
    return sorted(set(kinds))
