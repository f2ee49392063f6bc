"""What a node may say of itself: any one of them could say it, and all of them have to compute with it."""

from __future__ import annotations

from typing import Any

import pytest

from grown_hive import GrownHive, key
from hivemind.model.allocation import AllocationState
from hivemind.model.principal import Principal, Role
from hivemind.model.template import Resources
from hivemind.state.nodes import LONGEST_REASON
from hivemind.state.operations import RegisterPrincipal


@pytest.mark.parametrize(
    "facts",
    [
        {"cpus": 1e308},
        {"cpus": -1.0},
        {"memory": 10**400},
        {"memory": -1},
        {"gpus": 10**30},
        {"task_slots": -(10**30)},
        {"incarnation": 2**62},
        {"incarnation": 10**30},
        {"protocol": 10**30},
        {"labels": {"x": "y" * 40_000}},
        {"addresses": ("10.0.0.1:1",) * 4_000},
    ],
)
def test_what_no_machine_has_is_refused_and_the_hive_goes_on(facts: dict[str, Any]) -> None:
    hive = GrownHive("b", workers=("w",))
    hive.deploy("web", replicas=3, resources=Resources(cpus=0.5, memory=2**20))
    before = hive.node("w")
    refusal = hive.register("w", refused=True, **facts)
    assert refusal.code == "invalid" and len(refusal.message) < 200
    hive.deploy("more", replicas=3, resources=Resources(cpus=0.5, memory=2**20))
    assert hive.node("w") == before and len(hive.live("more")) == 3


@pytest.mark.parametrize("cpus", [0.0, 5e-324, 2.0**20])
def test_the_least_and_the_most_can_be_computed_with(cpus: float) -> None:
    hive = GrownHive("b", workers=("w",))
    hive.register("w", cpus=cpus, memory=2**60, gpus=2**20, task_slots=2**20, incarnation=2**62 - 1)
    hive.deploy("web", replicas=3, resources=Resources(cpus=0.5, memory=2**20))
    assert len(hive.live("web")) == 3


def test_a_reason_is_a_reason_and_no_book() -> None:
    hive = GrownHive("b")
    hive.deploy("web")
    hive.report(lambda allocation: True, AllocationState.HEALTHY, reason="x" * 100_000)
    [kept] = hive.live("web")
    assert kept.reason == "x" * LONGEST_REASON


def test_no_node_takes_the_name_of_a_person_or_the_id_of_another_node() -> None:
    hive = GrownHive("b", workers=("w",))
    person = Principal(id=key("a person").public, name="alice", kind="person", role=Role.VIEWER)
    hive.do(RegisterPrincipal(principal=person))
    for name in ("alice", hive.ids["b"], "", "W", "../w", "w\n", "x" * 64):
        hive.ids[name] = hive.ids["w"]
        assert hive.register(name, refused=True, incarnation=9).code in ("invalid", "conflict")
    assert hive.node("w").name == "w"
