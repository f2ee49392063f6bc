"""A slot of which never two replicas may run is filled again only when the lost one must have stopped by itself."""

from __future__ import annotations

from typing import Any

from grown_hive import GrownHive
from hivemind.model.allocation import Allocation, AllocationState
from hivemind.model.template import Stop
from hivemind.state.fencing import CONTACT, MARGIN
from hivemind.state.operations import DeleteApp
from hivemind.state.state import State


def lost(**spec: Any) -> tuple[GrownHive, Allocation]:
    """A hive of four that has lost `b`, and what ran there."""
    hive = GrownHive(*"bcd")
    hive.deploy(replicas=4, stop=Stop(grace=7), **spec)
    hive.settle()
    [old] = [a for a in hive.live() if a.node == hive.ids["b"]]
    hive.lose("b")
    return hive, hive.state.allocations[old.id]


def successor(hive: GrownHive, old: Allocation) -> Allocation:
    [new] = [a for a in hive.live() if a.slot == old.slot]
    assert new.attempt > old.attempt
    return new


def test_it_waits_as_long_as_the_lost_one_may_still_run() -> None:
    hive, old = lost(on_partition="stop")
    new = successor(hive, old)
    assert (new.state, new.node) == (AllocationState.PENDING, "")
    assert new.reason == "waits until its replica on b has stopped there, where nobody can be asked"
    assert hive.state.deadline() == old.updated + CONTACT + 7_000 + MARGIN
    hive.wait((CONTACT + 7_000) / 1000)
    assert successor(hive, old).state is AllocationState.PENDING
    hive.wait(MARGIN / 1000)
    assert successor(hive, old).state is AllocationState.PLACED


def test_that_the_node_is_back_makes_it_no_shorter() -> None:
    hive, old = lost(on_partition="stop")
    hive.register("b")
    assert successor(hive, old).state is AllocationState.PENDING
    hive.wait((CONTACT + 7_000 + MARGIN) / 1000)
    assert successor(hive, old).state is AllocationState.PLACED


def test_what_may_go_on_is_replaced_at_once() -> None:
    hive, old = lost(on_partition="keep")
    assert successor(hive, old).state is AllocationState.PLACED


def test_it_is_remembered_over_a_restore() -> None:
    hive, old = lost(on_partition="stop")
    again = State.restore(hive.state.snapshot())
    assert again.deadline() == hive.state.deadline() == old.updated + CONTACT + 7_000 + MARGIN


def test_an_app_that_is_removed_meanwhile_leaves_nothing_to_wait_for() -> None:
    hive, old = lost(on_partition="stop")
    hive.do(DeleteApp(project="default", name=old.app_name))
    hive.wait((CONTACT + 7_000 + MARGIN) / 1000)
    assert not [a for a in hive.state.allocations.values() if a.state is AllocationState.PENDING]
