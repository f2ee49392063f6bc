"""Schedules: ticks, late ones, missed ones, jitter."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivemind.errors import Invalid
from hivemind.jobs.schedule import MOST_AT_ONCE, between, check, due, next_time
from hivemind.jobs.zones import moment
from hivemind.model.job import Schedule

HOUR = 3_600_000
NOON = moment("2026-06-01T12:00")


def _hours(ticks: list[int]) -> list[float]:
    return [(tick - NOON) / HOUR for tick in ticks]


def _hourly(**options: object) -> Schedule:
    return Schedule(cron="0 * * * *", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("missed", "window", "now", "hours"),
    [
        ("none", 86_400, NOON + 3 * HOUR + 30_000, [3]),
        ("none", 86_400, NOON + 3 * HOUR + 61_000, []),
        ("last", 86_400, NOON + 3 * HOUR + 30_000, [3]),
        ("last", 86_400, NOON + 3 * HOUR + 61_000, [3]),
        ("last", 600, NOON + 3 * HOUR + 700_000, []),
        ("all", 86_400, NOON + 3 * HOUR + 61_000, [1, 2, 3]),
        ("all", 7200, NOON + 3 * HOUR + 61_000, [2, 3]),
        ("all", 0, NOON + 3 * HOUR + 30_000, [3]),
        ("last", 86_400, NOON + HOUR - 1, []),
        ("none", 86_400, NOON + HOUR, [1]),
    ],
)
def test_what_was_missed(missed: str, window: float, now: int, hours: list[int]) -> None:
    schedule = _hourly(missed=missed, window=window)
    assert _hours(due(schedule, NOON, now, "job")) == hours


def test_a_tick_is_never_due_again() -> None:
    for missed in ("none", "last", "all"):
        schedule, seen, started = _hourly(missed=missed), NOON, []
        for now in range(NOON, NOON + 5 * HOUR, 7 * 60_000 // 13):
            if ticks := due(schedule, seen, now, "job"):
                seen = ticks[-1]
                started += ticks
        assert _hours(started) == [1, 2, 3, 4]


def test_very_many_come_in_portions() -> None:
    schedule = Schedule(every=1, missed="all")
    first = due(schedule, NOON, NOON + HOUR, "job")
    assert len(first) == MOST_AT_ONCE and first[0] == NOON + 1000
    assert due(schedule, first[-1], NOON + HOUR, "job")[0] == first[-1] + 1000


@pytest.mark.parametrize(
    ("schedule", "times"),
    [
        (Schedule(every=90), ["2026-06-01T12:01:30", "2026-06-01T12:03"]),
        (Schedule(every=7200, since="2026-01-01T01:00"), ["2026-06-01T13:00", "2026-06-01T15:00"]),
        (Schedule(every=86_400, since="2026-07-01T08:00"), ["2026-07-01T08:00", "2026-07-02T08:00"]),
        (Schedule(at="2026-06-02T18:00", timezone="Europe/Paris"), ["2026-06-02T16:00"]),
        (Schedule(at="2026-06-02T18:00-05:00", timezone="Europe/Paris"), ["2026-06-02T23:00"]),
        (Schedule(at="2026-06-01T11:59"), []),
        (Schedule(cron="0 8 * * *", timezone="Asia/Tokyo", until="2026-06-02"), ["2026-06-01T23:00"]),
        (Schedule(cron="0 13 * * *", until="2026-06-02"), ["2026-06-01T13:00", "2026-06-02T13:00"]),
        (Schedule(cron="0 13 * * *", until="2026-06-02T13:00"), ["2026-06-01T13:00"]),
        (Schedule(cron="0 0 13 * * *", since="2026-06-05"), ["2026-06-05T13:00", "2026-06-06T13:00"]),
    ],
)
def test_next_times(schedule: Schedule, times: list[str]) -> None:
    check(schedule)
    found, after = [], NOON
    while len(found) < 2 and (coming := next_time(schedule, after, "job")) is not None:
        found.append(coming)
        after = coming
    assert found == [moment(time) for time in times]


@given(
    st.sampled_from([
        Schedule(every=10, jitter=60), Schedule(every=60, jitter=20), Schedule(cron="*/5 * * * *", jitter=3600),
        Schedule(cron="0 * * * *", jitter=600, timezone="Europe/Paris"), Schedule(every=3600, jitter=0.5),
        Schedule(cron="*/7 * * * * *", jitter=1), Schedule(at="2026-06-01T12:30", jitter=1800),
    ]),
    st.text("abc", min_size=1, max_size=4),
    st.integers(0, 2 * HOUR),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_jitter_keeps_order_and_finds_each_tick_when_it_says(
    schedule: Schedule, salt: str, offset: int
) -> None:
    """A clock that wakes at each `next_time` starts every tick, once, in order, not before its time."""
    begin = NOON + offset
    seen = now = begin
    started = []
    for _ in range(12):
        coming = next_time(schedule, now, salt)
        if coming is None:
            break
        assert coming > now
        now = coming
        ticks = due(schedule, seen, now, salt)
        assert len(ticks) == 1 or ticks == []  # none: it had begun before, and jitter moved it behind
        for tick in ticks:
            assert tick <= now <= tick + schedule.jitter * 1000
            started.append(tick)
            seen = tick
    assert started == sorted(set(started))
    if started:
        assert started == between(schedule, begin + 1, started[-1] + 1)


def test_jitter_differs_from_job_to_job() -> None:
    schedule = Schedule(cron="0 * * * *", jitter=1800)
    starts = {next_time(schedule, NOON - 1, f"job-{number}") for number in range(100)}
    assert len(starts) > 90
    assert min(starts) < NOON + 300_000 and max(starts) > NOON + 1_500_000  # type: ignore[type-var,operator]


def test_backfills() -> None:
    assert _hours(between(_hourly(), NOON, NOON + 3 * HOUR)) == [0, 1, 2]
    assert _hours(between(_hourly(since="2026-06-01T13:30"), NOON, NOON + 3 * HOUR)) == [2]
    assert between(_hourly(), NOON, NOON) == []
    with pytest.raises(Invalid, match="more than 10,000"):
        between(Schedule(every=1), NOON, NOON + 3 * HOUR)


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (Schedule(), "has no time"),
        (Schedule(cron="* * * * *", every=5), "has cron and every"),
        (Schedule(every=0.5), "too often"),
        (Schedule(cron="* * * *"), "4 fields"),
        (Schedule(cron="0 0 30 2 *"), "never comes"),
        (Schedule(at="soon"), "is not a time"),
        (Schedule(at="2026-06-01T12:00", since="2026-01-01"), "needs no since"),
        (Schedule(every=60, timezone="Europe/Parys"), "Europe/Paris"),
        (Schedule(every=60, since="2026-02-30"), "is not a time"),
        (Schedule(every=60, since="2026-02-02", until="2026-02-01"), "ends before it begins"),
        (Schedule(cron="0 0 1 1 *", since="2026-02-02", until="2026-03-01"), "no time between"),
        (Schedule(at="9999-12-31T00:00"), "too far away"),
    ],
)
def test_what_is_refused(schedule: Schedule, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        check(schedule)
    assert said in refused.value.message + refused.value.hint


@pytest.mark.parametrize("at", [-(2**63), -1, 0, 2**53, 2**63 - 1])
def test_clocks_that_are_far_off(at: int) -> None:
    for schedule in (
        Schedule(cron="0 0 * * *", timezone="Europe/Paris"),
        Schedule(every=60),
        Schedule(at="2026-01-01"),
    ):
        next_time(schedule, at, "job")
        due(schedule, at, at, "job")
