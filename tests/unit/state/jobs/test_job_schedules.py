"""Schedules start runs: each of their times exactly once."""

from __future__ import annotations

from typing import Any

import pytest

from hivemind.model.run import Run, RunState
from hivemind.state.operations import Backfill, DeleteJob, PauseJob
from jobs_hive import JobsHive

RUN = {"run": "true"}
MINUTE = 60_000


def ticking(**schedule: Any) -> JobsHive:
    hive = JobsHive()
    hive.put(on={"schedule": [{"every": 60, "name": "t", **schedule}]}, tasks={"a": RUN})
    return hive


def runs(hive: JobsHive) -> list[Run]:
    return sorted((r for r in hive.state.runs.values()), key=lambda r: r.number)


def minutes(hive: JobsHive) -> list[int]:
    return [r.start.time // MINUTE for r in runs(hive)]


def test_each_time_starts_one_run_whatever_is_restarted() -> None:
    hive = ticking()
    assert hive.state.deadline() == 17 * MINUTE
    hive.until(18 * MINUTE + 1)
    assert minutes(hive) == [17, 18]
    hive.restart()
    hive.wait(1)
    assert minutes(hive) == [17, 18] and hive.state.deadline() == 19 * MINUTE
    hive.all_well()
    hive.until(20 * MINUTE)
    assert minutes(hive) == [17, 18, 19, 20]
    assert all(r.start.kind == "schedule" and r.start.source == "t" for r in runs(hive))


@pytest.mark.parametrize(("missed", "made_up"), [("none", []), ("last", [40]), ("all", [20, 30, 40])])
def test_what_nobody_could_start_is_made_up_for_as_it_says(missed: str, made_up: list[int]) -> None:
    hive = ticking(every=600, missed=missed, overlap="allow")
    hive.restart()
    hive.time = 42 * MINUTE
    hive.wait(0)
    assert minutes(hive) == made_up
    hive.wait(1)
    assert minutes(hive) == made_up and hive.state.deadline() == 50 * MINUTE


def test_a_pause_skips_its_times() -> None:
    for how in ({}, {"schedules": ("t",)}):
        hive = ticking(missed="all", overlap="allow")
        hive.do(PauseJob(project="default", name="job", **how))
        assert hive.state.deadline() is None
        hive.until(25 * MINUTE)
        hive.do(PauseJob(project="default", name="job", paused=False, **how))
        assert minutes(hive) == []
        hive.until(26 * MINUTE)
        assert minutes(hive) == [26]


@pytest.mark.parametrize(
    ("overlap", "states"),
    [
        ("allow", [RunState.RUNNING, RunState.RUNNING]),
        ("queue", [RunState.RUNNING, RunState.QUEUED]),
        ("forbid", [RunState.RUNNING, RunState.SKIPPED]),
        ("replace", [RunState.CANCELED, RunState.RUNNING]),
    ],
)
def test_what_is_due_while_another_goes_on(overlap: str, states: list[RunState]) -> None:
    hive = ticking(overlap=overlap)
    hive.until(18 * MINUTE)
    hive.stop_done()
    assert [r.state for r in runs(hive)] == states


def test_a_job_that_is_too_slow_for_its_schedule_does_not_pile_up_runs() -> None:
    hive = ticking(missed="all", window=1_000_000)
    hive.until(150 * MINUTE)
    states = [r.state for r in runs(hive)]
    assert states.count(RunState.QUEUED) == 99 and states.count(RunState.RUNNING) == 1
    assert states.count(RunState.SKIPPED) == 20, "of those few are kept"


def test_jitter_follows_from_job_and_time() -> None:
    hive = ticking(jitter=30)
    due = hive.state.deadline()
    assert due and 17 * MINUTE <= due <= 17 * MINUTE + 30_000
    hive.restart()
    assert hive.state.deadline() == due
    hive.until(due)
    assert minutes(hive) == [17] and runs(hive)[0].created == due


def test_another_definition_begins_its_times_now_and_keeps_those_that_stay() -> None:
    hive = ticking()
    hive.until(17 * MINUTE)
    job = hive.state.find_job("default", "job")
    assert job and job.seen == {"t": 17 * MINUTE}
    hive.put(on={"schedule": [{"every": 60, "name": "t"}, {"every": 600, "name": "u"}]}, tasks={"b": RUN})
    job = hive.state.find_job("default", "job")
    assert job and job.seen == {"t": 17 * MINUTE, "u": hive.time}
    hive.all_well()
    hive.until(18 * MINUTE)
    assert minutes(hive) == [17, 18] and runs(hive)[1].definition == 2
    hive.do(DeleteJob(project="default", name="job"))
    assert hive.state.find_job("default", "job") is None
    hive.until(40 * MINUTE)
    assert minutes(hive) == [17, 18]


def test_a_backfill_makes_up_for_a_period_but_not_for_what_ran() -> None:
    hive = ticking(overlap="allow")
    hive.until(18 * MINUTE)
    period = {"since": 10 * MINUTE, "until": 20 * MINUTE}
    outcome = hive.do(Backfill(project="default", job="job", **period))
    assert len(outcome.id.split(",")) == 8
    assert sorted(minutes(hive)) == list(range(10, 20))
    again = hive.do(Backfill(project="default", job="job", **period))
    assert again.id == ""
    hive.until(19 * MINUTE)
    assert sorted(minutes(hive)) == list(range(10, 20)), "the schedule finds its time done"


def test_backfills_of_a_schedule_that_must_not_overlap_go_one_after_another() -> None:
    hive = ticking()
    hive.do(Backfill(project="default", job="job", since=0, until=3 * MINUTE, newest_first=True))
    assert [r.state for r in runs(hive)] == [RunState.RUNNING, RunState.QUEUED, RunState.QUEUED]
    assert minutes(hive) == [2, 1, 0]
    hive.all_well()
    assert {r.state for r in runs(hive)} == {RunState.SUCCEEDED}


def test_what_cannot_be_backfilled_is_refused() -> None:
    hive = ticking(every=1)
    far = hive.do(Backfill(project="default", job="job", since=0, until=5_000_000), refused=True)
    assert "5000 runs" in far.message
    assert (
        "no schedule 'x'"
        in hive.do(
            Backfill(project="default", job="job", schedule="x", since=0, until=1), refused=True
        ).message
    )
    hive.put("plain", tasks={"a": RUN})
    assert (
        "has no schedule"
        in hive.do(Backfill(project="default", job="plain", since=0, until=1), refused=True).message
    )


def test_a_schedule_whose_inputs_do_not_fit_is_refused_when_the_job_is_put() -> None:
    from hivemind.errors import Invalid

    with pytest.raises(Invalid, match="n"):
        hive = JobsHive()
        outcome = hive.put(
            inputs={"n": {"type": "integer", "required": True}},
            tasks={"a": RUN},
            refused=True,
            on={"schedule": [{"every": 60}]},
        )
        outcome.raise_for_error()
