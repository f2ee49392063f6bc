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


def test_voters_come_go_and_take_turns_while_other_faults_run() -> None:
    coverage: set[str] = set()
    for seed in range(10):
        outcome = _simulated(
            "hive", seed, nodes=5 + seed % 3, faults=("loss", "crash", "partition", "freeze", "upgrade")
        )
        _well(outcome)
        coverage |= outcome.coverage.keys()
    assert coverage >= {
        "a node joined", "a node left", "a node was expelled", "a voter came", "a voter went", "voters took turns",
        "mixed versions", "a newer version is spoken", "epoch began", "crash", "cut off",
    }  # fmt: skip


def test_who_understands_less_than_the_hive_speaks_does_not_get_in_until_it_does() -> None:
    refused = 0
    for seed in range(5, 15):  # somebody comes after everybody else runs the next version
        outcome = _simulated("hive", seed, nodes=6, seconds=3.0, faults=("upgrade",))
        _well(outcome)
        refused += "an old version was refused" in outcome.coverage and "a node joined" in outcome.coverage
        if refused == 2:
            return
    raise AssertionError("nobody came too late")


def test_a_liar_that_is_convicted_is_expelled_by_the_hive_itself() -> None:
    """With real signatures, which state verifies: from proof to the voters that go on without it."""
    outcome = _simulated("hive", 1, nodes=5, adversary="equivocating-primary", real_crypto=True)
    _well(outcome)
    assert outcome.coverage.keys() >= {"conviction", "a liar was expelled", "a voter went", "epoch began"}


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
        _simulated("hive", seed, nodes=5, seconds=4.0, faults=("crash", "partition")) for seed in range(1)
    ]
    assert {outcome.rule for outcome in outcomes} == {"progress after healing"}


def _simulated(protocol: str, seed: int, *, nodes: int = 4, seconds: float = 1.5, **settings: Any) -> Outcome:
    return simulate(Settings(seed=seed, protocol=protocol, nodes=nodes, seconds=seconds, **settings))


def _well(outcome: Outcome) -> None:
    assert not outcome.failed, "\n".join((f"{outcome.rule}: {outcome.story}", *outcome.trace[-30:]))
