"""Who decides: how voters come, are replaced and go, and what never happens to them."""

from __future__ import annotations

import pytest

from grown_hive import HOUR, GrownHive
from hivemind.protocols.pbft.limits import MARGIN
from hivemind.state.operations import ConfigureHive, ExpelNode, LeaveHive
from hivemind.state.state import State


def test_the_second_member_votes_when_it_is_ready_and_not_before() -> None:
    hive = GrownHive()
    hive.admit("b", ready=False)
    assert hive.voters == ["node-0"] and hive.record.next is None
    hive.ready("b")
    following = hive.record.next
    assert following and following.number == 1 and following.since == hive.state.sequence + MARGIN
    assert hive.voters == ["node-0"]
    assert hive.record.change == "b came"


def test_an_epoch_begins_with_its_first_batch_although_nobody_wishes_anything() -> None:
    hive = GrownHive()
    hive.admit("b")
    following = hive.record.next
    assert following
    while hive.state.sequence < following.since - 1:
        assert hive.state.deadline() == hive.state.time
        hive.wait(0)
        assert hive.record.next == following
    assert hive.state.epoch_at(following.since - 1) == hive.record.epoch
    assert hive.state.epoch_at(following.since) == following
    hive.wait(0)
    assert hive.record.epoch == following and hive.record.next is None
    assert hive.record.since == hive.state.time
    assert hive.state.deadline() is None
    assert hive.state.epoch_at(following.since - 1) == next(iter(hive.state.terms.values())).epoch


def test_one_change_is_in_flight_at_a_time() -> None:
    hive = GrownHive()
    hive.admit("b")
    following = hive.record.next
    hive.admit("c")
    hive.admit("d")
    assert hive.record.next == following
    hive.begun()
    assert hive.voters == ["b", "c", "d", "node-0"]
    assert hive.record.epoch.number == 2
    assert [term.epoch.number for term in hive.state.terms.values()] == [0, 1, 2]


def test_there_are_never_more_than_are_allowed_and_the_first_stay() -> None:
    hive = GrownHive(*"bcdefghi", max_voters=5)
    assert hive.voters == ["b", "c", "d", "e", "node-0"]
    number = hive.record.epoch.number
    hive.admit("j")
    hive.begun()
    assert hive.record.epoch.number == number


def test_workers_never_vote_and_witnesses_do() -> None:
    hive = GrownHive("b", workers=("w", "v"))
    hive.admit("x", role="witness")
    hive.begun()
    assert hive.voters == ["b", "node-0", "x"]
    hive.deploy(replicas=20)
    assert hive.ids["x"] not in {a.node for a in hive.allocations()}


def test_a_lost_voter_keeps_its_seat_while_there_is_no_other() -> None:
    hive = GrownHive(*"bcd")
    epoch = hive.record.epoch
    hive.lose("d")
    hive.begun()
    assert hive.record.epoch == epoch
    hive.register("d")
    assert hive.record.epoch == epoch and not hive.node("d").ready


def test_a_lost_voter_is_replaced_by_a_spare() -> None:
    hive = GrownHive(*"bcde", max_voters=4)
    assert hive.voters == ["b", "c", "d", "node-0"]
    hive.lose("b")
    assert hive.record.change == "b is lost, e in its place"
    hive.begun()
    assert hive.voters == ["c", "d", "e", "node-0"]
    hive.register("b")
    hive.ready("b")
    hive.begun()
    assert hive.voters == ["c", "d", "e", "node-0"], "nothing changes without need"
    hive.lose("c")
    hive.begun()
    assert hive.voters == ["b", "d", "e", "node-0"]


def test_who_comes_back_must_be_ready_again_to_be_a_spare() -> None:
    hive = GrownHive(*"bcde", max_voters=4)
    hive.lose("e")
    hive.register("e")
    hive.lose("b")
    hive.begun()
    assert "b" in hive.voters
    hive.ready("e")
    hive.begun()
    assert hive.voters == ["c", "d", "e", "node-0"]


def test_a_term_ends_and_everyone_gets_its_turn() -> None:
    hive = GrownHive(*"bcdef", max_voters=4, rotation=HOUR)
    served = set(hive.voters)
    seen = [hive.voters]
    for _ in range(6):
        due = hive.state.deadline()
        assert due == hive.record.since + HOUR
        hive.wait((due - hive.state.time) / 1000)
        assert hive.record.change.count("served its term") == 1
        hive.begun()
        served |= set(hive.voters)
        assert len(hive.voters) == 4 and len(set(hive.voters) - set(seen[-1])) == 1
        seen.append(hive.voters)
    assert served == {"node-0", *"bcdef"}
    assert seen[1] == ["b", "c", "d", "e"], "the founder served longest"
    assert "node-0" in seen[3], "and waited longest after e and f"


def test_nobody_rotates_without_a_spare() -> None:
    hive = GrownHive("b", "c", rotation=HOUR)
    number = hive.record.epoch.number
    hive.wait(3600)
    assert hive.record.next is None and hive.record.epoch.number == number
    assert hive.state.deadline() is None
    hive.do(ConfigureHive(max_voters=3))
    hive.admit("d")
    assert hive.record.change.startswith("node-0 served its term")


def test_fewer_are_allowed_the_lost_and_those_who_served_longest_go() -> None:
    hive = GrownHive(*"bcdefg")
    hive.lose("f")
    hive.do(ConfigureHive(max_voters=4))
    hive.begun()
    assert len(hive.voters) == 4 and "f" not in hive.voters and "node-0" not in hive.voters


# -- require_bft ---------------------------------------------------------------------------------------------


def test_who_requires_bft_decides_alone_until_there_are_four() -> None:
    hive = GrownHive("b", "c", require_bft=True)
    assert hive.voters == ["node-0"]
    hive.admit("d")
    hive.begun()
    assert hive.voters == ["b", "c", "d", "node-0"]
    assert [len(term.epoch.voters) for term in hive.state.terms.values()] == [1, 4]


def test_nobody_leaves_four_that_have_to_be_four() -> None:
    hive = GrownHive(*"bcd", require_bft=True)
    for operation in (LeaveHive(node="b"), LeaveHive(node="b", force=True), ExpelNode(node="b")):
        assert "would be 3 voters" in hive.do(operation, refused=True).message
    hive.admit("e")
    hive.begun()
    hive.do(LeaveHive(node="b"))
    hive.begun()
    assert hive.voters == ["c", "d", "e", "node-0"]


# -- restoring -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("waiting", [0, 1, MARGIN - 1, MARGIN, MARGIN + 1])
def test_a_state_restored_before_an_epoch_begins_goes_on_alike(waiting: int) -> None:
    hive = GrownHive("b", "c", rotation=HOUR)
    hive.admit("d")
    for _ in range(waiting):
        hive.wait(0)
    again, forked = State.restore(hive.state.snapshot()), hive.state.fork()
    for state in (again, forked):
        assert state.deadline() == hive.state.deadline()
        for _ in range(MARGIN + 2):
            state.apply(state.sequence + 1, state.time + 1, [])
    for _ in range(MARGIN + 2):
        hive.state.apply(hive.state.sequence + 1, hive.state.time + 1, [])
    assert again.digest() == forked.digest() == hive.state.digest()
