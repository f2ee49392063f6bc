"""The hive and the shared store in the simulated world: planted defects are found, faults and liars are borne."""

from __future__ import annotations

from typing import Any

import pytest

from hivemind.protocols.autobee import order
from hivemind.sim.hosts.hive import scenario as hive_scenario
from hivemind.sim.many import simulate
from hivemind.sim.registry import ADVERSARIES
from hivemind.sim.run import Outcome
from hivemind.sim.scenario import Settings


@pytest.mark.parametrize("protocol", ["autobee", "hive"])
def test_each_liar_lies_and_is_borne(protocol: str) -> None:
    for name in ADVERSARIES[protocol]:
        _well(_simulated(protocol, 1, adversary=name))


def test_nodes_are_lost_with_what_they_run_and_come_back() -> None:
    coverage: set[str] = set()
    for seed in range(4):
        outcome = _simulated(
            "hive", seed, nodes=5, seconds=4.0, faults=("crash", "partition", "freeze", "amnesia")
        )
        _well(outcome)
        coverage |= outcome.coverage.keys()
    assert coverage >= {"node lost", "allocation lost", "crash", "cut off"}


def test_stores_agree_whatever_happened() -> None:
    for seed in range(6):
        faults = ("loss", "duplicate", "reorder", "crash", "partition", "amnesia", "skew")
        _well(_simulated("autobee", seed, nodes=3 + seed % 3, faults=faults))


def test_a_store_that_goes_by_arrival_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "_winner", lambda candidates: next(iter(candidates.values()), None))
    outcomes = [_simulated("autobee", seed, faults=("loss", "partition")) for seed in range(6)]
    assert "progress after healing" in {outcome.rule for outcome in outcomes}


def test_a_node_that_does_not_end_what_was_taken_from_it_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Keeping(set[str]):
        def __iand__(self, other: Any) -> Keeping:
            return self

    honest = hive_scenario.HiveScenario.begin

    def begin(self: Any, operations: Any) -> None:
        self._running = {node: Keeping() for node in self.nodes}
        honest(self, operations)

    monkeypatch.setattr(hive_scenario.HiveScenario, "begin", begin)
    outcomes = [
        _simulated("hive", seed, nodes=5, seconds=4.0, faults=("crash", "partition")) for seed in range(3)
    ]
    assert {outcome.rule for outcome in outcomes} == {"progress after healing"}


def _simulated(protocol: str, seed: int, *, nodes: int = 4, seconds: float = 1.5, **settings: Any) -> Outcome:
    return simulate(Settings(seed=seed, protocol=protocol, nodes=nodes, seconds=seconds, **settings))


def _well(outcome: Outcome) -> None:
    assert not outcome.failed, "\n".join((f"{outcome.rule}: {outcome.story}", *outcome.trace[-30:]))
