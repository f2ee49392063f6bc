"""Who may start, and who has to wait, of those that are queued."""

from __future__ import annotations

from typing import Any

import pytest

from hivemind.model.allocation import AllocationState, Desired
from hivemind.model.run import RunState, TaskState
from hivemind.state.jobs.explain import breakdown, why, why_run
from hivemind.state.operations import PauseQueue
from jobs_hive import JobsHive

RUN = {"run": "true"}


def running(hive: JobsHive) -> list[str]:
    return sorted(f"{hive.run(a.run).name}.{a.path}" for a in hive.attempts())


def test_a_node_runs_so_many_tasks_as_it_has_slots() -> None:
    hive = JobsHive(slots=2)
    hive.put(tasks={"a": RUN, "b": RUN, "c": RUN})
    run = hive.start()
    assert running(hive) == ["job-1.a", "job-1.b"]
    assert why(hive.state, hive.task(run, "c")) == "0 of 1 node fit: 1 has no task slot free"
    hive.succeed(run, "a")
    assert running(hive) == ["job-1.b", "job-1.c"]


def test_tasks_with_the_same_key_share_a_limit() -> None:
    hive = JobsHive()
    limited = {"run": "true", "concurrency": {"key": "gpu", "limit": 2}}
    hive.put("train", tasks={"a": limited, "b": limited})
    hive.put("other", tasks={"c": limited, "free": RUN})
    hive.start("train")
    second = hive.start("other")
    assert running(hive) == ["other-1.free", "train-1.a", "train-1.b"]
    assert why(hive.state, hive.task(second, "c")) == (
        "waits for a limit: 2 of 2 with key gpu run: train-1.a, train-1.b"
    )
    hive.succeed(hive.attempts()[0].run, "a") if hive.attempts()[0].path == "a" else hive.end(
        hive.attempts()[0]
    )
    hive.all_well()
    assert hive.run(second).state is RunState.SUCCEEDED


def test_a_key_may_be_computed_and_each_value_has_its_own_limit() -> None:
    hive = JobsHive()
    task = {"run": "true", "concurrency": {"key": "db-${{ inputs.name }}", "limit": 1}}
    hive.put(inputs={"name": {"type": "string"}}, tasks={"a": task})
    hive.start(inputs={"name": "one"})
    hive.start(inputs={"name": "two"})
    hive.start(inputs={"name": "one"})
    assert running(hive) == ["job-1.a", "job-2.a"]


def test_one_too_many_may_fail() -> None:
    hive = JobsHive()
    hive.put(tasks={"a": {"run": "true", "concurrency": {"limit": 1, "behavior": "fail"}}})
    hive.start()
    second = hive.start()
    assert hive.state_of(second, "a") is TaskState.FAILED
    assert hive.task(second, "a").reason == "1 of 1 with key job.a run: job-1.a"


def test_one_too_many_may_cancel_the_oldest() -> None:
    hive = JobsHive()
    hive.put(tasks={"a": {"run": "true", "concurrency": {"limit": 1, "behavior": "cancel"}}})
    first, second = hive.start(), hive.start()
    assert hive.attempt(first, "a").desired is Desired.STOP
    hive.stop_done()
    assert hive.state_of(first, "a") is TaskState.CANCELED and running(hive) == ["job-2.a"]
    assert hive.state_of(second, "a") is TaskState.RUNNING


def test_a_project_has_a_limit_and_another_goes_on() -> None:
    hive = JobsHive()
    hive.allow("small", max_tasks=1)
    for project in ("small", "default"):
        hive.put(project=project, tasks={"a": RUN, "b": RUN})
    run = hive.start(project="small")
    hive.start()
    assert len(hive.attempts()) == 3
    waiting = next(p for p in "ab" if hive.state_of(run, p) is TaskState.QUEUED)
    assert why(hive.state, hive.task(run, waiting)) == "1 of 1 tasks of project small run"
    hive.allow("small", max_tasks=2)
    assert len(hive.attempts()) == 4


def test_a_rate_limits_the_starts_in_any_period() -> None:
    hive = JobsHive()
    hive.put(tasks={"each": {"run": "true", "for_each": [1, 2, 3, 4, 5], "rate": {"limit": 2, "per": 10}}})
    run = hive.start()
    begun = hive.time
    assert len(hive.attempts()) == 2
    hive.all_well_once()
    assert hive.attempts() == []
    assert why(hive.state, hive.task(run, "each[2]")) == "2 of 2 starts in 10 s with the rate key job.each"
    assert hive.state.deadline() == begun + 10_000
    hive.restart()
    hive.until(begun + 9_999)
    assert hive.attempts() == []
    hive.until(begun + 10_000)
    assert [a.path for a in hive.attempts()] == ["each[2]", "each[3]"] or len(hive.attempts()) == 2
    hive.until(begun + 30_000)
    assert len(hive.attempts()) == 3 and len(hive.state.starts) <= 1


def test_a_paused_queue_starts_nothing_and_says_so() -> None:
    hive = JobsHive()
    hive.put(tasks={"a": {"run": "true", "concurrency": {"key": "gpu", "limit": 5}}, "b": RUN})
    hive.do(PauseQueue(project="default", key="gpu"))
    run = hive.start()
    assert running(hive) == ["job-1.b"]
    assert why(hive.state, hive.task(run, "a")) == "queue gpu is paused by admin"
    hive.do(PauseQueue(project="default", key="gpu", paused=False))
    assert running(hive) == ["job-1.a", "job-1.b"]
    hive.do(PauseQueue(project="default"))
    later = hive.start()
    assert hive.run(later).state is RunState.QUEUED
    assert why_run(hive.state, hive.run(later)) == "project default is paused by admin"
    hive.do(PauseQueue(project="default", paused=False))
    assert hive.run(later).state is RunState.RUNNING


@pytest.mark.parametrize(
    ("behavior", "first", "second"),
    [
        ("queue", RunState.RUNNING, RunState.QUEUED),
        ("fail", RunState.RUNNING, RunState.SKIPPED),
        ("cancel", RunState.CANCELED, RunState.RUNNING),
    ],
)
def test_runs_of_a_job_have_a_limit(behavior: str, first: RunState, second: RunState) -> None:
    hive = JobsHive()
    hive.put(concurrency={"limit": 1, "behavior": behavior}, tasks={"a": RUN})
    one, two = hive.start(), hive.start()
    hive.stop_done()
    assert (hive.run(one).state, hive.run(two).state) == (first, second)
    hive.all_well()
    assert not [r for r in hive.state.runs.values() if not r.state.ended]


def test_priority_goes_first_but_what_waits_long_enough_goes_before_it() -> None:
    hive = JobsHive(slots=1)
    hive.put("filler", tasks={"a": RUN})
    hive.put(tasks={"a": RUN})
    filler = hive.start("filler")
    low = hive.start(priority=0)
    high = hive.start(priority=100)
    assert (
        breakdown(hive.state, hive.task(high, "a")).total < breakdown(hive.state, hive.task(low, "a")).total
    )
    hive.succeed(filler, "a")
    assert running(hive) == ["job-2.a"]
    hive.wait(3700)
    late = hive.start(priority=100)
    hive.succeed(high, "a")
    assert running(hive) == ["job-1.a"]
    hive.succeed(low, "a")
    assert running(hive) == [f"{hive.run(late).name}.a"]


def test_projects_share_by_their_weights() -> None:
    hive = JobsHive(slots=6)
    hive.allow("heavy", weight=2)
    hive.allow("light", weight=1)
    tasks = {"each": {"run": "true", "for_each": list(range(30))}}
    for project in ("light", "heavy"):
        hive.put(project=project, tasks=tasks)
        hive.start(project=project)
    for _ in range(30):
        hive.end(hive.attempts()[0])
    shares = [sum(a.project == project for a in hive.attempts()) for project in ("heavy", "light")]
    assert shares == [4, 2]


def test_a_gang_starts_together_on_nodes_of_its_own_or_not_at_all() -> None:
    hive = JobsHive(nodes=3, slots=1)
    hive.put("single", tasks={"a": RUN})
    hive.put("gang", tasks={"g": {"run": "true", "nodes": 3}})
    single = hive.start("single")
    gang = hive.start("gang")
    assert running(hive) == ["single-1.a"]
    assert "0 of 3 nodes fit" in why(hive.state, hive.task(gang, "g"))
    hive.succeed(single, "a")
    assert sorted(a.node for a in hive.attempts()) == ["node-0", "node-1", "node-2"]
    assert [hive.state.allocations[id].slot for id in hive.task(gang, "g").allocations] == [0, 1, 2]


def test_members_of_a_gang_may_share_nodes_where_it_says_so() -> None:
    hive = JobsHive(nodes=1, slots=3)
    hive.put(tasks={"g": {"run": "true", "nodes": 3, "share_nodes": True}})
    hive.start()
    assert len(hive.attempts()) == 3


def test_what_it_asks_for_is_set_aside() -> None:
    hive = JobsHive(cpus=4.0)
    hive.put(tasks={"each": {"run": "true", "for_each": [1, 2, 3], "resources": {"cpus": 2}}})
    run = hive.start()
    assert len(hive.attempts()) == 2 and hive.state.uses()["node-0"].cpus == 4
    assert why(hive.state, hive.task(run, "each[2]")) == "0 of 1 node fit: 1 lacks 2 cores"
    hive.all_well()
    assert hive.state.uses()["node-0"].cpus == 0


def test_a_task_for_another_engine_goes_where_that_is() -> None:
    hive = JobsHive()
    hive.join("cluster", executors=("hive", "slurm"))
    hive.put(tasks={"each": {"run": "true", "for_each": [1, 2, 3], "executor": "slurm"}})
    hive.start()
    assert {a.node for a in hive.attempts()} == {"cluster"}


# -- preemption ----------------------------------------------------------------------------------------------


def preempting(**low: Any) -> JobsHive:
    hive = JobsHive(slots=2)
    hive.put("low", priority="low", tasks={"a": {"run": "true", "preemptible": True, **low}})
    hive.put("high", priority="high", tasks={"a": RUN})
    return hive


def test_the_more_urgent_takes_the_place_of_the_youngest_that_allows_it() -> None:
    hive = preempting()
    first, second = hive.start("low"), hive.start("low")
    high = hive.start("high")
    assert hive.attempt(first, "a").desired is Desired.RUN
    assert hive.attempt(second, "a").desired is Desired.STOP
    assert why(hive.state, hive.task(high, "a")) == "room is being made for it"
    hive.stop_done()
    assert running(hive) == ["high-1.a", "low-1.a"]
    task = hive.task(second, "a")
    assert (task.state, task.losses, task.attempts[0].cause) == (TaskState.QUEUED, 1, "preempted")
    assert task.attempts[0].reason == "preempted by high-1 a"
    hive.all_well()
    assert hive.run(second).state is RunState.SUCCEEDED


def test_who_does_not_allow_it_or_has_no_losses_left_keeps_its_place() -> None:
    for low in ({"preemptible": False}, {"retry": {"losses": 0}}):
        hive = preempting(**low)
        hive.start("low"), hive.start("low")
        hive.start("high")
        assert all(a.desired is Desired.RUN for a in hive.attempts())


def test_what_is_as_urgent_is_not_driven_out() -> None:
    hive = preempting()
    hive.put("same", priority="low", tasks={"a": RUN})
    hive.start("low"), hive.start("low"), hive.start("same")
    assert all(a.desired is Desired.RUN for a in hive.attempts())


def test_what_may_not_begin_drives_nobody_out() -> None:
    hive = JobsHive(slots=2)
    hive.put("low", tasks={"l": {"run": "x", "preemptible": True, "priority": 0, "retry": {"losses": 0}}})
    hive.put("mild", tasks={"m": {"run": "x", "preemptible": True, "priority": 10}})
    hive.put("high", tasks={"h": {"run": "x", "priority": 100, "concurrency": {"key": "k"}}})
    hive.put("other", tasks={"o": {"run": "x", "priority": 5}})
    hive.start("low")
    hive.do(PauseQueue(project="default", key="k", paused=True))
    mild = hive.start("mild")
    hive.start("high")
    hive.start("other")
    assert hive.attempt(mild, "m").desired is Desired.RUN
    hive.do(PauseQueue(project="default", key="k", paused=False))
    assert hive.attempt(mild, "m").desired is Desired.STOP


def test_only_as_much_is_stopped_as_is_needed() -> None:
    hive = JobsHive(cpus=4.0)
    low = {"run": "true", "preemptible": True, "for_each": [1, 2, 3, 4], "resources": {"cpus": 1}}
    hive.put("low", priority="low", tasks={"a": low})
    hive.put("high", priority="high", tasks={"a": {"run": "true", "resources": {"cpus": 2}}})
    hive.start("low")
    hive.start("high")
    assert sum(a.desired is Desired.STOP for a in hive.attempts()) == 2
    hive.restart()
    hive.wait(1)
    assert sum(a.desired is Desired.STOP for a in hive.attempts()) == 2
    hive.stop_done()
    assert "high-1.a" in running(hive) and len(running(hive)) == 3


# -- losses --------------------------------------------------------------------------------------------------


def test_what_ran_on_a_drained_node_begins_anew_elsewhere() -> None:
    from hivemind.state.operations import DrainNode

    hive = JobsHive(nodes=2)
    hive.put(tasks={"a": RUN})
    run = hive.start()
    before = hive.attempt(run, "a")
    hive.do(DrainNode(name=before.node))
    assert hive.attempt(run, "a").desired is Desired.STOP
    hive.stop_done()
    after = hive.attempt(run, "a")
    assert after.node != before.node and after.attempt == 2 and after.id != before.id
    assert hive.task(run, "a").losses == 1 and hive.task(run, "a").spent == 0


def test_a_lost_attempt_goes_elsewhere_where_there_is_another_node() -> None:
    hive = JobsHive(nodes=2)
    hive.put(tasks={"a": RUN})
    run = hive.start()
    before = hive.attempt(run, "a")
    hive.tell(before, state=AllocationState.LOST, cause="lost")
    assert hive.attempt(run, "a").node != before.node


def test_late_and_foreign_reports_are_passed_over() -> None:
    hive = JobsHive(nodes=2)
    hive.put(tasks={"a": {"run": "true", "retry": {"max": 1, "delay": 0}}})
    run = hive.start()
    first = hive.attempt(run, "a")
    hive.end(first, 1)
    second = hive.attempt(run, "a")
    assert second.attempt == 2
    hive.end(first, 0)
    assert hive.state_of(run, "a") is TaskState.RUNNING
    other = "node-1" if second.node == "node-0" else "node-0"
    from msgspec.structs import replace

    hive.tell(replace(second, node=other), state=AllocationState.COMPLETE)
    assert hive.state_of(run, "a") is TaskState.RUNNING
    hive.end(second, 0)
    assert hive.run(run).state is RunState.SUCCEEDED
