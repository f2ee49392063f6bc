"""Whose word makes a node lost, what follows, and how it comes back."""

from __future__ import annotations

import pytest

from grown_hive import GrownHive
from hivemind.model.allocation import AllocationState, Desired
from hivemind.model.mount import VolumeMount
from hivemind.model.template import Resources
from hivemind.state.losing import CALM, WINDOW, needed
from hivemind.state.operations import AcquitNode, AllocationReport, ReportAllocations


@pytest.mark.parametrize(
    ("others", "count"),
    [("b", 1), ("bc", 2), ("bcd", 2), ("bcde", 2), ("bcdef", 2), ("bcdefg", 3), ("bcdefghij", 4)],
)
def test_so_many_voters_must_say_so(others: str, count: int) -> None:
    hive = GrownHive(*others, max_voters=10)
    assert needed(hive.state, hive.ids["b"]) == count
    for number, accuser in enumerate([name for name in hive.voters if name != "b"], 1):
        if hive.node("b").lost:
            break
        hive.accuse("b", accuser)
        assert bool(hive.node("b").lost) is (number >= count)
    assert hive.node("b").lost == hive.state.time
    assert not len(hive.state.accusations) and hive.state.deadline() is None


def test_the_same_word_twice_is_one_word() -> None:
    hive = GrownHive(*"bcd")
    for _ in range(5):
        hive.accuse("b", "c")
    assert not hive.node("b").lost and len(hive.state.accusations) == 1


def test_whose_word_does_not_count() -> None:
    hive = GrownHive(*"bcd", workers=("w", "v"), max_voters=4)
    assert "itself" in hive.accuse("b", "b", refused=True).message
    assert "only the word of voters" in hive.accuse("b", "w", refused=True).message
    hive.admit("spare")
    assert "only the word of voters" in hive.accuse("b", "spare", refused=True).message
    hive.lose("d")
    assert "only the word of voters" in hive.accuse("b", "d", refused=True).message


def test_a_lost_node_takes_its_accusations_with_it() -> None:
    hive = GrownHive(*"bcdefg")
    hive.accuse("b", "c")
    hive.accuse("b", "d")
    hive.lose("c")
    assert len(hive.state.accusations) == 1
    hive.accuse("b", "e")
    assert not hive.node("b").lost
    hive.accuse("b", "f")
    assert hive.node("b").lost


def test_an_accusation_is_forgotten_when_it_is_not_said_again() -> None:
    hive = GrownHive(*"bcd")
    hive.accuse("b", "c")
    assert hive.state.deadline() == hive.state.time + WINDOW
    hive.wait(30)
    hive.accuse("b", "c")
    hive.wait(31)
    assert len(hive.state.accusations) == 1
    hive.wait(WINDOW / 1000)
    assert not len(hive.state.accusations)
    hive.accuse("b", "d")
    assert not hive.node("b").lost


def test_who_takes_it_back_has_not_said_it() -> None:
    hive = GrownHive(*"bcd")
    hive.accuse("b", "c")
    hive.do(AcquitNode(node=hive.ids["b"]), by=hive.ids["c"])
    hive.accuse("b", "d")
    assert not hive.node("b").lost
    hive.do(AcquitNode(node=hive.ids["b"]), by=hive.ids["c"])
    assert hive.do(AcquitNode(node="nobody"), by=hive.ids["c"], refused=True).code == "not-found"


def test_an_accusation_is_of_one_life() -> None:
    hive = GrownHive(*"bcd")
    hive.accuse("b", "c")
    hive.register("b")
    assert not len(hive.state.accusations)
    hive.accuse("b", "c", incarnation=1)
    hive.accuse("b", "d", incarnation=1)
    assert not hive.node("b").lost and not len(hive.state.accusations)
    hive.accuse("b", "c")
    hive.accuse("b", "d")
    assert hive.node("b").lost


def test_two_halves_that_accuse_each_other_do_not_both_go() -> None:
    hive = GrownHive(*"bcdef")
    for accused in "def":
        hive.accuse(accused, "b")
    for accused in "bc":
        hive.accuse(accused, "e")
    for accused in "def":
        hive.accuse(accused, "c")
    assert {name for name in hive.ids if hive.node(name).lost} == {"d", "e", "f"}
    assert not len(hive.state.accusations), "those of the lost are gone, and so are those of them"
    assert len(hive.voters) == 6


def test_of_two_voters_one_loses_the_other_but_not_its_seat() -> None:
    hive = GrownHive("b")
    hive.accuse("b", "node-0")
    assert hive.node("b").lost and hive.voters == ["b", "node-0"]


# -- what follows --------------------------------------------------------------------------------------------


def test_what_ran_there_is_lost_and_begun_elsewhere_at_once() -> None:
    hive = GrownHive(*"bcd")
    hive.deploy(replicas=8)
    hive.settle()
    old = [a for a in hive.live() if a.node == hive.ids["b"]]
    assert len(old) == 2
    hive.lose("b")
    for each in old:
        gone = hive.state.allocations[each.id]
        assert gone.state is AllocationState.LOST and gone.reason == "node b is lost"
        newest = hive.state.allocations_in(each.app, each.slot)[-1]
        assert newest.attempt > each.attempt and newest.state is AllocationState.PLACED
        assert newest.node not in ("", hive.ids["b"])
    assert len(hive.live()) == 8
    hive.settle()
    assert all(a.state is AllocationState.HEALTHY for a in hive.live())


def test_what_it_says_of_old_attempts_later_changes_nothing() -> None:
    hive = GrownHive(*"bcd")
    hive.deploy(replicas=4)
    hive.settle()
    [old] = [a for a in hive.live() if a.node == hive.ids["b"]]
    hive.lose("b")
    hive.register("b")
    for state in AllocationState:
        said = AllocationReport(id=old.id, state=state)
        hive.do(ReportAllocations(node=hive.ids["b"], reports=(said,)), by=hive.ids["b"])
        assert hive.state.allocations[old.id].state is AllocationState.LOST
    assert len(hive.live()) == 4


def test_what_was_told_to_stop_there_is_gone_too() -> None:
    hive = GrownHive(*"bcd")
    hive.deploy(replicas=4)
    hive.settle()
    hive.deploy(replicas=0)
    assert all(a.desired is Desired.STOP for a in hive.live())
    hive.lose("b")
    assert len(hive.live()) == 3


def test_a_replica_with_a_volume_there_waits_for_its_node_and_says_so() -> None:
    hive = GrownHive(*"bcd")
    mounts = (VolumeMount(source="data", target="/d", per_replica=True),)
    hive.deploy("db", replicas=4, mounts=mounts)
    hive.settle()
    [old] = [a for a in hive.live("db") if a.node == hive.ids["b"]]
    hive.lose("b")
    [new] = [a for a in hive.live("db") if a.slot == old.slot]
    assert new.state is AllocationState.PENDING
    assert new.reason == f"0 of 4 nodes fit: 3 do not have volume data-{old.slot}, 1 is lost"
    hive.register("b")
    [new] = [a for a in hive.live("db") if a.slot == old.slot]
    assert new.state is AllocationState.PLACED and new.node == hive.ids["b"] and new.attempt > old.attempt


def test_what_finds_no_place_says_why_and_adds_up() -> None:
    hive = GrownHive(*"bc", workers=("w",))

    hive.deploy(replicas=4, resources=Resources(memory=6 * 2**30))
    hive.settle()
    hive.lose("b")
    [waiting] = [a for a in hive.live() if a.state is AllocationState.PENDING]
    assert waiting.reason == "0 of 4 nodes fit: 3 lack 6GiB memory, 1 is lost"
    hive.register("b")
    assert not [a for a in hive.live() if a.state is AllocationState.PENDING]


# -- coming back ---------------------------------------------------------------------------------------------


def test_it_comes_back_with_a_higher_incarnation_only() -> None:
    hive = GrownHive(*"bcd")
    hive.lose("b")
    refused = hive.register("b", incarnation=1, refused=True)
    assert "was lost since" in refused.message and refused.hint == "register with a higher one: 2"
    assert hive.register("b", incarnation=0, refused=True).code == "conflict"
    hive.register("b", incarnation=2)
    assert not hive.node("b").lost and hive.node("b").incarnation == 2 and hive.node("b").returned
    hive.register("b", incarnation=2)
    assert hive.register("b", incarnation=1, refused=True).code == "conflict"


def test_who_is_lost_again_and_again_is_held_back_ever_longer() -> None:
    hive = GrownHive(*"bcd")
    holds = []
    for _ in range(9):
        hive.lose("b")
        hive.register("b")
        holds.append(max(hive.node("b").held_until - hive.state.time, 0) // 1000)
    assert holds == [0, 30, 60, 120, 240, 480, 960, 1800, 1800]
    assert not hive.node("b").usable
    hive.deploy(replicas=8)
    assert hive.ids["b"] not in {a.node for a in hive.live()}
    hive.wait(1800)
    assert hive.node("b").usable and not hive.node("b").held_until
    hive.deploy("more", replicas=8)
    assert hive.ids["b"] in {a.node for a in hive.live("more")}


def test_what_fits_nowhere_else_does_not_wait_for_a_held_node() -> None:
    hive = GrownHive("b")
    for _ in range(2):
        hive.accuse("b", "node-0")
        hive.register("b")
    hive.deploy(constraints=("node.name==b",))
    assert hive.node("b").held_until
    assert [a.node for a in hive.live()] == [hive.ids["b"]]


def test_a_hive_whose_nodes_are_all_held_back_still_works() -> None:
    hive = GrownHive(*"bcd")
    for _ in range(3):
        for name in ("node-0", *"bcd"):
            hive.lose(name)
            hive.register(name)
    assert all(node.held_until for node in hive.state.nodes.values())
    hive.deploy(replicas=8)
    assert len({a.node for a in hive.live()}) == 4


def test_that_it_was_lost_is_forgotten_in_calm_times() -> None:
    hive = GrownHive(*"bcd")
    for _ in range(4):
        hive.lose("b")
        hive.register("b")
    hive.wait(CALM / 1000)
    hive.lose("b")
    assert hive.node("b").losses == 1
    hive.register("b")
    assert hive.node("b").usable
