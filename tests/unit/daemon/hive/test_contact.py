"""How long a node has heard nothing of enough voters."""

from __future__ import annotations

import pytest

from hivemind.daemon.hive.contact import Contact
from hivemind.ledger.contract import LedgerStatus


class Ledger:
    def __init__(self, status: LedgerStatus) -> None:
        self.said = status

    def status(self) -> LedgerStatus:
        return self.said

    async def caught_up(self) -> None:
        return


NOW = 1_000_000


def silence(voters: str, heard: dict[str, int], node: str = "a") -> float:
    """`heard`: how many milliseconds ago; the daemon began 100 s ago."""
    times = {voter: NOW - ago for voter, ago in heard.items()}
    said = LedgerStatus(engine="pbft", role="voter", voters=tuple(voters), heard=times)
    time = NOW - 100_000
    contact = Contact(Ledger(said), node, lambda: time, lambda: time / 1000)
    time = NOW
    return contact.silence()


@pytest.mark.parametrize(
    ("voters", "heard", "node", "seconds"),
    [
        ("a", {}, "a", 0.0),
        ("ab", {"b": 7_000}, "a", 7.0),
        ("abc", {"b": 7_000, "c": 1_000}, "a", 1.0),
        ("abcd", {"b": 7_000, "c": 1_000, "d": 3_000}, "a", 3.0),
        ("abcd", {"b": 1_000, "c": 1_000}, "a", 1.0),
        ("abcd", {"b": 1_000}, "a", 100.0),
        ("abcd", {"b": 1_000, "c": 2_000, "d": 9_000}, "learner", 9.0),
    ],
)
def test_the_slowest_of_a_quorum_counts(
    voters: str, heard: dict[str, int], node: str, seconds: float
) -> None:
    assert silence(voters, heard, node) == seconds


def test_another_engine_is_asked_whether_it_can_decide() -> None:
    time = NOW
    ledger = Ledger(LedgerStatus(engine="etcd", role="learner"))
    contact = Contact(ledger, "a", lambda: time, lambda: time / 1000)
    time += 5_000
    assert contact.silence() == 0.0
    ledger.said = LedgerStatus(engine="etcd", role="learner", can_decide=False)
    time += 9_000
    assert contact.silence() == 9.0


def test_who_is_one_of_several_since_a_moment_ago_was_not_cut_off_before() -> None:
    time = NOW
    ledger = Ledger(LedgerStatus(engine="local", role="alone", voters=("a",)))
    contact = Contact(ledger, "a", lambda: time, lambda: time / 1000)
    time += 60_000
    assert contact.silence() == 0.0
    ledger.said = LedgerStatus(engine="pbft", role="voter", voters=("a", "b"))
    assert contact.silence() == 0.0
    time += 5_000
    assert contact.silence() == 5.0
    ledger.said = LedgerStatus(engine="pbft", role="voter", voters=("a", "c"))
    assert contact.silence() == 0.0, "another one takes that seat"


def test_a_wall_clock_that_is_set_back_does_not_hide_that_nobody_is_heard_of() -> None:
    time, wall = 0.0, NOW
    ledger = Ledger(LedgerStatus(engine="pbft", role="voter", voters=("a", "b")))
    contact = Contact(ledger, "a", lambda: wall, lambda: time)
    time, wall = 20.0, NOW - 3_600_000
    assert contact.silence() == 20.0


def test_it_is_behind_while_more_is_agreed_than_applied() -> None:
    ledger = Ledger(LedgerStatus(engine="pbft", role="voter", sequence=4, agreed=5))
    contact = Contact(ledger, "a", lambda: NOW)
    assert contact.behind()
    ledger.said = LedgerStatus(engine="local", role="alone", sequence=5)
    assert not contact.behind()
