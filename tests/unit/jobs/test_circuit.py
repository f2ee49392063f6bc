"""The circuit breaker: what each event makes of it, and what never happens whatever the events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemind.jobs import circuit
from hivemind.model.circuit import CircuitRecord
from hivemind.model.job import Circuit

POLICY = Circuit(failures=3, window=10.0, cooldown=5.0)


def closed() -> CircuitRecord:
    return CircuitRecord(project="p", name="db", policy=POLICY)


def opened(at: int = 3000) -> CircuitRecord:
    it = closed()
    for number in (2, 1, 0):
        it = circuit.failed(it, at - number, f"t{number}", "refused")
    assert it.state == "open"
    return it


def test_enough_failures_within_the_window_open_it() -> None:
    it = closed()
    for at in (1000, 2000):
        it = circuit.failed(it, at, "a", "refused")
        assert it.state == "closed" and circuit.allows(it, at, "b") == ""
    it = circuit.failed(it, 3000, "a", "refused")
    assert (it.state, it.opened, it.due) == ("open", 3000, 8000)
    assert circuit.allows(it, 7999, "b") == "circuit db is open: refused"
    assert circuit.deadline(it) == 8000


def test_failures_before_the_window_do_not_count() -> None:
    it = closed()
    for at in range(0, 100_000, 5000):
        it = circuit.failed(it, at, "a", "refused")
    assert it.state == "closed" and len(it.failures) == 2
    assert circuit.tick(it, 200_000).failures == ()


def test_one_probe_after_the_cooldown_and_no_more() -> None:
    it = circuit.probe(opened(), 8000, "a")
    assert it.state == "half-open"
    assert circuit.allows(it, 8000, "a") == "" and "probed by another" in circuit.allows(it, 8000, "b")
    assert circuit.deadline(it) is None
    with pytest.raises(AssertionError):
        circuit.probe(it, 8000, "b")


def test_the_probe_decides() -> None:
    probing = circuit.probe(opened(), 8000, "a")
    well = circuit.succeeded(probing, 9000, "a")
    assert (well.state, well.failures, well.opened, well.reason) == ("closed", (), 0, "")
    again = circuit.failed(probing, 9000, "a", "refused")
    assert (again.state, again.due, again.opened, again.probe) == ("open", 14_000, 3000, "")
    freed = circuit.freed(probing, 9000, "a")
    assert (freed.state, freed.probe) == ("open", "") and circuit.allows(freed, 9000, "b") == ""


def test_others_say_nothing_about_one_that_is_not_closed() -> None:
    for it in (opened(), circuit.probe(opened(), 8000, "a")):
        assert circuit.failed(it, 9000, "b", "refused") == it
        assert circuit.succeeded(it, 9000, "b") == it
        assert circuit.freed(it, 9000, "b") == it


def test_held_open_by_hand_it_stays_until_it_is_left_to_itself() -> None:
    held = circuit.force(closed(), "open", 1000, "maintenance")
    assert held.forced and circuit.deadline(held) is None
    assert circuit.allows(held, 10**9, "a") == "circuit db is held open by hand"
    assert circuit.failed(held, 2000, "a", "x") == held == circuit.succeeded(held, 2000, "a")
    left = circuit.force(held, "auto", 3000, "")
    assert left.state == "open" and circuit.allows(left, 3000, "a") == "", "it is probed before it is trusted"


def test_held_closed_by_hand_lets_everything_through() -> None:
    held = circuit.force(circuit.probe(opened(), 8000, "a"), "closed", 9000, "")
    for at in range(9000, 9100):
        held = circuit.failed(held, at, "a", "x")
    assert held.state == "closed" and circuit.allows(held, 9100, "b") == ""
    assert circuit.force(held, "auto", 9200, "").state == "closed"
    assert circuit.force(closed(), "auto", 1, "") == closed()


def test_what_cannot_be_raises_and_tells_its_story() -> None:
    with pytest.raises(AssertionError, match=r"circuit db is closed .* cannot probe"):
        circuit._moved(closed(), "probe", 1)


TASKS = st.sampled_from(["a", "b", "c"])
EVENTS = st.one_of(
    st.tuples(st.sampled_from(["start", "fail", "succeed", "lose"]), TASKS),
    st.tuples(st.sampled_from(["open", "closed", "auto"]), st.just("")),
)


@given(st.lists(st.tuples(EVENTS, st.integers(0, 6000)), max_size=60))
def test_whatever_happens(events: list[tuple[tuple[str, str], int]]) -> None:
    """Never: two probes, a start through an open circuit before its time, a closed one that stops anybody, a
    circuit that is stuck for ever."""
    it, now, running = closed(), 0, dict[str, str]()
    for (what, task), pause in events:
        now += pause
        it = circuit.tick(it, now)
        if what == "start" and task not in running:
            may = circuit.allows(it, now, task)
            assert (may == "") >= (it.state == "closed")
            if not may:
                if it.state != "closed":
                    assert it.state == "open" and not it.forced and now >= it.due
                    it = circuit.probe(it, now, task)
                running[task] = it.state
        elif what == "fail" and running.pop(task, None):
            it = circuit.failed(it, now, task, "x")
        elif what == "succeed" and running.pop(task, None):
            probed = it.probe == task and not it.forced
            it = circuit.succeeded(it, now, task)
            assert not probed or (it.state == "closed" and not it.failures)
        elif what == "lose" and running.pop(task, None):
            it = circuit.freed(it, now, task)
        elif what in ("open", "closed", "auto"):
            it = circuit.force(it, what, now, "")  # type: ignore[arg-type]
            if what != "auto":
                assert (it.forced, it.state) == (True, what)
        assert (it.probe != "") == (it.state == "half-open")
        assert not it.probe or it.probe in running, "the probe runs"
        if it.state == "open" and not it.forced:
            assert circuit.allows(it, it.due, "z") == "", "by waiting it opens for a probe"
        if it.state == "closed":
            assert len(it.failures) < it.policy.failures
