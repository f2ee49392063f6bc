"""How long the hive waits for a node whose daemon is started anew, and that nobody can have it wait for ever."""

from __future__ import annotations

import pytest

from grown_hive import GrownHive
from hivemind.model.allocation import AllocationState
from hivemind.state.operations import AnnounceRestart
from hivemind.state.restarting import ALLOWANCE, COST
from hivemind.state.state import Outcome, Signed

MINUTE = 60_000
LONGEST = ALLOWANCE // COST


def announce(
    hive: GrownHive, name: str, grace: int = MINUTE, *, refused: bool = False, by: str = "", life: int = 0
) -> Outcome:
    incarnation = life or hive.node(name).incarnation
    said = AnnounceRestart(node=hive.ids[name], incarnation=incarnation, grace=grace)
    return hive.do(said, by=hive.ids[by or name], refused=refused)


def everybody_accuses(hive: GrownHive, name: str) -> None:
    for voter in hive.voters:
        if voter != name and not hive.node(name).lost:
            hive.accuse(name, voter)


def test_nobody_accuses_who_said_that_it_will_be_back() -> None:
    hive = GrownHive(*"bcd")
    hive.deploy("web", replicas=4)
    before = [(a.id, a.node, a.state) for a in hive.live()]
    assert {node for _, node, _ in before} == set(hive.ids.values())
    hive.accuse("b", "c")
    announce(hive, "b")
    assert hive.node("b").restarting == hive.state.time + MINUTE
    assert not len(hive.state.accusations)
    everybody_accuses(hive, "b")
    assert not hive.node("b").lost and not len(hive.state.accusations)
    assert hive.ids["b"] in hive.record.epoch.voters
    hive.wait(30)
    hive.register("b")
    assert not hive.node("b").restarting
    assert [(a.id, a.node, a.state) for a in hive.live()] == before


def test_who_is_not_back_in_time_is_lost_as_ever() -> None:
    hive = GrownHive(*"bcd")
    hive.deploy("web", replicas=4)
    (there,) = [a for a in hive.live() if a.node == hive.ids["b"]]
    announce(hive, "b", 8_000)
    assert hive.state.deadline() == hive.state.time + 8_000
    hive.wait(8)
    assert not hive.node("b").restarting and not hive.node("b").lost
    everybody_accuses(hive, "b")
    assert hive.node("b").lost
    assert hive.state.allocations[there.id].state is AllocationState.LOST
    assert len([a for a in hive.live() if a.node != hive.ids["b"]]) == 4


def test_a_node_that_is_started_anew_is_given_nothing_and_takes_no_seat() -> None:
    hive = GrownHive(*"bcd", "spare", max_voters=4)
    announce(hive, "spare")
    hive.lose("d")
    assert hive.record.next is None and hive.ids["d"] in hive.record.epoch.voters
    hive.deploy("web", replicas=6)
    assert {hive.name(a.node) for a in hive.live()} == {"node-0", "b", "c"}
    hive.register("spare")
    hive.begun()
    assert hive.ids["spare"] in hive.record.epoch.voters


def test_only_the_node_itself_says_so_and_only_of_its_present_life() -> None:
    hive = GrownHive(*"bcd")
    assert "itself" in announce(hive, "b", by="c", refused=True).message
    hive.register("b")
    assert announce(hive, "b", life=1, refused=True).code == "conflict"
    assert announce(hive, "b", 10, refused=True).code == "invalid"
    hive.lose("b")
    assert announce(hive, "b", refused=True).code == "conflict"
    assert not hive.node("b").restarting


def test_nobody_is_waited_for_for_ever() -> None:
    """The worst that a node can do: it says it again as soon as that is granted, and is never there in between."""
    hive = GrownHive(*"bcd")
    began, waited, refused = hive.state.time, 0, 0
    for _ in range(300):
        said = AnnounceRestart(node=hive.ids["b"], incarnation=1, grace=100 * LONGEST)
        hive.time += 10
        operation = Signed(hive.ids["b"], str(hive.time), said)
        [outcome] = hive.state.apply(hive.state.sequence + 1, hive.time, [operation])
        refused += bool(outcome.code)
        hive.wait(5)
        waited += 5_000 if hive.node("b").restarting else 0
    passed = hive.state.time - began
    assert refused and passed > 2 * LONGEST
    assert LONGEST - 5_000 <= waited <= LONGEST + passed // COST


def test_what_it_did_not_need_costs_nothing() -> None:
    hive = GrownHive(*"bcd")
    for _ in range(100):
        announce(hive, "b", MINUTE)
        assert hive.node("b").restarting == hive.state.time + MINUTE
        hive.wait(1)
        hive.register("b")
        hive.wait(10)


def test_an_allowance_that_was_used_up_comes_back_with_time() -> None:
    hive = GrownHive(*"bcd")
    announce(hive, "b", LONGEST)
    hive.wait(LONGEST / 1000)
    hive.register("b")
    announce(hive, "b", LONGEST)
    assert hive.node("b").restarting - hive.state.time == pytest.approx(LONGEST // COST, abs=1_000)
    hive.wait(ALLOWANCE / 1000)
    hive.register("b")
    announce(hive, "b", LONGEST)
    assert hive.node("b").restarting == hive.state.time + LONGEST


@pytest.mark.parametrize("grace", [1_000, MINUTE])
def test_said_again_it_counts_anew(grace: int) -> None:
    hive = GrownHive(*"bcd")
    announce(hive, "b", MINUTE)
    announce(hive, "b", grace)
    assert hive.node("b").restarting == hive.state.time + grace
    assert hive.node("b").excused <= hive.state.time + 2 * MINUTE * COST
