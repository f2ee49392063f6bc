"""Replicas move to nodes that joined: only where it is wanted, surge-first, one at a time, and they come to rest."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from grown_hive import GrownHive
from hivemind.model.allocation import Allocation, AllocationState, Desired
from hivemind.model.app import Update
from hivemind.model.mount import VolumeMount
from hivemind.model.network import NetworkOptions, Port
from hivemind.model.project import ProjectManifest
from hivemind.model.template import Resources
from hivemind.state.operations import ConfigureHive, PauseApp, PutProject, ScaleApp
from hivemind.state.state import State


def crowded(replicas: int = 8, **spec: Any) -> GrownHive:
    """All of it on one node; another has just joined."""
    hive = GrownHive(rebalance=True)
    hive.deploy(replicas=replicas, **spec)
    hive.settle()
    hive.admit("b")
    hive.begun()
    return hive


def moving(hive: GrownHive) -> list[Allocation]:
    return [a for a in hive.live() if a.moving_to]


def until_rest(hive: GrownHive) -> list[int]:
    """How many replicas were healthy and to run, whenever something happened."""
    healthy = []
    for _ in range(200):
        due = hive.state.deadline()
        if due is None:
            return healthy
        hive.wait(max(due - hive.state.time, 0) / 1000)
        assert len(moving(hive)) <= 1
        for _ in range(4):
            healthy.append(
                sum(a.state is AllocationState.HEALTHY and a.desired is Desired.RUN for a in hive.live())
            )
            hive.starts_done()
        hive.stops_done()
    raise AssertionError("it never comes to rest")


def test_they_move_until_it_is_even_and_never_fewer_serve() -> None:
    hive = crowded()
    healthy = until_rest(hive)
    assert Counter(a.node for a in hive.live()) == {"node-0": 4, hive.ids["b"]: 4}
    assert min(healthy) == 8


def test_the_old_one_leaves_when_the_new_one_is_healthy() -> None:
    hive = crowded(2)
    hive.wait(6)
    [old] = moving(hive)
    assert len(hive.live()) == 3 and old.desired is Desired.RUN
    hive.starts_done()
    old = hive.state.allocations[old.id]
    assert (old.desired, old.reason) == (Desired.STOP, "moved to another node")


def test_larger_nodes_hold_more() -> None:
    hive = GrownHive(rebalance=True)
    hive.deploy(replicas=12)
    hive.settle()
    hive.admit("big", cpus=8.0)
    until_rest(hive)
    assert Counter(hive.name(a.node) for a in hive.live()) == {"node-0": 4, "big": 8}


def test_nothing_moves_where_it_is_not_wanted() -> None:
    hive = GrownHive()
    hive.deploy(replicas=8)
    hive.settle()
    hive.admit("b")
    hive.begun()
    assert hive.state.deadline() is None and not hive.record.balance


TIED: dict[str, dict[str, Any]] = {
    "volumes of its replicas": {"mounts": (VolumeMount(source="d", target="/d", per_replica=True),)},
    "a volume": {"mounts": (VolumeMount(source="d", target="/d"),)},
    "stop-first": {"update": Update(order="stop-first")},
    "the node's own network": {
        "network": NetworkOptions(mode="host"), "ports": (Port(container=80),),
    },
    "a constraint": {"constraints": ("node.name==node-0",)},
    "no room": {"resources": Resources(memory=2**32)},
}  # fmt: skip


@pytest.mark.parametrize("spec", TIED.values(), ids=TIED.keys())
def test_what_is_tied_stays(spec: dict[str, Any]) -> None:
    hive = GrownHive(rebalance=True)
    hive.do(PutProject(manifest=ProjectManifest(name="default", permissions=("host-network",))))
    hive.deploy(replicas=1 if "ports" in spec else 2, **spec)
    hive.deploy("filler", replicas=2, constraints=("node.name==node-0",))
    hive.settle()
    hive.admit("b", memory=2**31)
    hive.begun()
    until_rest(hive)
    assert {a.node for a in hive.live()} == {"node-0"}


def test_a_move_that_fails_is_taken_back() -> None:
    hive = crowded(2)
    hive.wait(6)
    [old] = moving(hive)
    [new] = [a for a in hive.live() if a.attempt > old.attempt and a.slot == old.slot]
    assert new.node == hive.ids["b"] == old.moving_to
    hive.report(lambda a: a.id == new.id, AllocationState.FAILED, reason="no")
    assert not moving(hive)
    assert hive.state.allocations[new.id].state is AllocationState.STOPPED
    assert hive.state.allocations[old.id].desired is Desired.RUN
    assert len(hive.live()) == 2
    # The slot is still healed: that the move failed is not how the slot ended.
    hive.lose_replica(old.id)
    assert len(hive.live()) == 2


def test_a_move_that_is_not_healthy_in_time_is_taken_back() -> None:
    hive = crowded(2, update=Update(healthy_deadline=20.0))
    hive.wait(6)
    [old] = moving(hive)
    again = State.restore(hive.state.snapshot())
    assert again.deadline() == hive.state.deadline() == hive.state.time + 20_000
    hive.wait(20)
    assert not moving(hive)
    hive.stops_done()
    assert [a.id for a in hive.live() if a.slot == old.slot] == [old.id]


@pytest.mark.parametrize(
    "happens",
    [
        lambda hive: hive.do(ConfigureHive(rebalance=False)),
        lambda hive: hive.do(PauseApp(project="default", name="web")),
        lambda hive: hive.deploy(replicas=2, image="web:2"),
        lambda hive: hive.lose("b"),
        lambda hive: hive.do(ScaleApp(project="default", name="web", replicas=0)),
    ],
    ids=["not wanted any more", "paused", "deployed", "lost", "scaled away"],
)
def test_what_is_more_urgent_ends_a_move(happens: Any) -> None:
    hive = crowded(2)
    hive.wait(6)
    assert moving(hive)
    happens(hive)
    hive.wait(0)
    assert not moving(hive)
    hive.settle()
    assert len(hive.live()) == hive.app().replicas
    assert len({a.slot for a in hive.live()}) == len(hive.live())


def test_it_looks_again_when_what_was_not_at_rest_is() -> None:
    hive = GrownHive(rebalance=True)
    hive.deploy(replicas=4)
    hive.admit("b")
    hive.begun()
    hive.wait(6)
    assert not moving(hive) and hive.record.balance == hive.state.time + 60_000
    hive.settle()
    until_rest(hive)
    assert Counter(a.node for a in hive.live()) == {"node-0": 2, hive.ids["b"]: 2}
