"""The state machine of health, step by step and as a whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hivemind.agent.checks.health import OUTPUT, SHORTEST, Health, Result
from hivemind.model.check import Check, TcpProbe

GOOD, BAD = Result(True, "fine"), Result(False, "refused")


def check(interval: float = 5.0, retries: int = 3, start_period: float = 0.0) -> Check:
    return Check(probe=TcpProbe(), interval=interval, retries=retries, start_period=start_period)


def course(rule: Check, *results: Result) -> list[Health]:
    """The health after each result, every probe run when it was due."""
    health = Health.begin(100.0)
    seen = []
    for result in results:
        health = health.after(rule, result, health.due)
        seen.append(health)
    return seen


def until_failing(rule: Check) -> float:
    """Seconds from the start until a replica that never answers is failing."""
    health = Health.begin(0.0)
    while health.status != "failing":
        health = health.after(rule, BAD, health.due)
        assert health.due < 10_000
    return health.due


def test_the_first_probe_comes_after_the_offset() -> None:
    health = Health.begin(100.0, offset=0.3)
    assert (health.status, health.due, health.ready) == ("starting", 100.3, False)


def test_one_success_makes_it_ready() -> None:
    [health] = course(check(), GOOD)
    assert (health.status, health.ready, health.due, health.output) == ("passing", True, 105.0, "fine")


def test_it_fails_after_so_many_failures_in_a_row() -> None:
    statuses = [h.status for h in course(check(), GOOD, BAD, BAD, GOOD, BAD, BAD, BAD)]
    assert statuses == ["passing"] * 6 + ["failing"]


def test_failures_of_a_passing_replica_come_one_interval_apart() -> None:
    good, *bad = course(check(), GOOD, BAD, BAD, BAD)
    assert [h.due - good.due for h in bad] == [5.0, 10.0, 15.0]


def test_it_recovers_with_one_success() -> None:
    *_, health = course(check(retries=1), GOOD, BAD, GOOD)
    assert (health.status, health.failures) == ("passing", 0)


def test_failures_do_not_count_during_the_start_period() -> None:
    rule = check(interval=1.0, retries=1, start_period=10.0)
    health = Health.begin(0.0)
    while health.due < 10.0:
        health = health.after(rule, BAD, health.due)
        assert (health.status, health.failures) == ("starting", 0)
    assert health.after(rule, BAD, health.due).status == "failing"


def test_after_the_first_success_failures_count_even_in_the_start_period() -> None:
    *_, health = course(check(interval=1.0, retries=1, start_period=60.0), GOOD, BAD)
    assert health.status == "failing"


def test_before_the_first_success_probes_come_quickly() -> None:
    times = [h.due - 100.0 for h in course(check(interval=30.0, start_period=60.0), *[BAD] * 12)]
    assert sum(t < 1.0 for t in times) >= 5
    assert times[-1] < 30.0


def test_haste_does_not_cost_tries() -> None:
    """Three tries, five seconds apart: failing ten seconds after the first, and not before."""
    rule = check(interval=5.0, retries=3)
    health = Health.begin(0.0)
    while health.status == "starting":
        at = health.due
        health = health.after(rule, BAD, at)
    assert 10.0 <= at < 10.5


def test_only_the_end_of_long_output_is_kept() -> None:
    [health] = course(check(), Result(False, "x" * 9999 + "the error"))
    assert len(health.output) == OUTPUT
    assert health.output.endswith("the error")


@given(
    st.lists(st.booleans(), max_size=40),
    st.floats(0, 60),
    st.integers(1, 5),
    st.floats(0, 60),
    st.lists(st.floats(0, 3), min_size=40, max_size=40),
)
def test_what_always_holds(
    results: list[bool], interval: float, retries: int, start_period: float, durations: list[float]
) -> None:
    rule = check(interval, retries, start_period)
    health, now, row, ever = Health.begin(0.0), 0.0, 0, False
    for ok, duration in zip(results, durations, strict=False):
        now = max(now, health.due) + duration
        before, health = health, health.after(rule, Result(ok), now)
        row, ever = 0 if ok else row + 1, ever or ok
        assert health.ready == (ok or (before.ready and row < retries))
        assert (health.status == "starting") <= (not ever)
        assert health.status != "failing" or row >= retries
        assert health.due >= now + SHORTEST
        assert health.due <= now + max(interval, SHORTEST)


@given(st.floats(0.1, 30), st.integers(1, 10), st.floats(0, 100))
def test_a_dead_replica_is_failing_in_bounded_time(
    interval: float, retries: int, start_period: float
) -> None:
    latest = start_period + (retries + 1) * (interval + SHORTEST)
    assert until_failing(check(interval, retries, start_period)) <= latest + interval
