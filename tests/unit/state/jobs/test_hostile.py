"""What somebody may think of to bring the hive down: state must come through each of these, and quickly."""

from __future__ import annotations

from itertools import pairwise

import pytest

from hivemind.errors import Invalid
from hivemind.model.isolation import Isolation
from hivemind.model.job import Routine, Step
from hivemind.model.routine import RoutineManifest
from hivemind.model.run import RunState, TaskState
from hivemind.state.jobs.events import STARTS_LIMIT
from hivemind.state.operations import PutRoutine, StartRun
from jobs_hive import JobsHive

DEEP = "[" * 5000 + "]" * 5000
"""Whether Python can read that depends on how deep its own stack is just then."""


@pytest.fixture
def hive() -> JobsHive:
    return JobsHive()


def test_text_that_stands_for_an_input_is_not_nested_without_end(hive: JobsHive) -> None:
    hive.put(inputs={"x": {"type": "list"}}, tasks={"a": {"run": "true"}})
    outcome = hive.do(StartRun(project="default", job="job", inputs={"x": DEEP}), refused=True)
    assert "its type is list" in outcome.message


def test_an_output_is_not_nested_without_end(hive: JobsHive) -> None:
    hive.put(tasks={"a": {"run": "true", "outputs": {"x": {"type": "list", "value": "${{ outputs.x }}"}}}})
    run = hive.start()
    hive.succeed(run, "a", outputs={"x": DEEP})
    assert hive.state_of(run, "a") is TaskState.FAILED
    assert "nested" in hive.task(run, "a").reason


def test_what_an_expression_reads_from_text_is_not_nested_without_end(hive: JobsHive) -> None:
    hive.put(tasks={
        "a": {"run": "true"},
        "b": {"needs": ["a"], "if": "length(from_json(needs.a.outputs.x)) > 0", "run": "true"},
    })  # fmt: skip
    run = hive.start()
    hive.succeed(run, "a", outputs={"x": DEEP})
    assert hive.state_of(run, "b") is TaskState.FAILED


def calling(times: int, *deeper: str) -> dict[str, object]:
    return {name: {"steps": [{"uses": called}] * times} for name, called in pairwise(deeper)}


def test_routines_that_multiply_are_refused_before_anybody_counts_to_the_end(hive: JobsHive) -> None:
    chain = [f"r{number}" for number in range(9)]
    routines = {**calling(50, *chain), "r8": {"run": "true"}}
    with pytest.raises(Invalid, match="steps, and 1,000 is the most"):
        hive.put(routines=routines, tasks={"a": {"uses": "r0"}})
    hive.put(routines={**calling(1, *chain), "r8": {"run": "true"}}, tasks={"a": {"uses": "r0"}})


@pytest.mark.parametrize("times", [1, 20])
def test_a_library_grown_from_below_is_no_way_around(hive: JobsHive, times: int) -> None:
    """Each is changed to call the next one while that still calls nobody."""
    count = 1500 if times == 1 else 9
    for number in range(count):
        hive.do(PutRoutine(project="default", manifest=routine(f"r{number}", Routine(run="true"))))
    for number in range(count - 1):
        steps = (Step(uses=f"r{number + 1}"),) * times
        hive.do(PutRoutine(project="default", manifest=routine(f"r{number}", Routine(steps=steps))))
    outcome = hive.put(tasks={"a": {"uses": "r0"}}, refused=True)
    assert "deep" in outcome.message or "steps" in outcome.message


def routine(name: str, spec: Routine) -> RoutineManifest:
    return RoutineManifest(name=name, spec=spec)


def test_jobs_that_start_each_other_do_not_multiply_without_end(hive: JobsHive) -> None:
    """Each run ends at once, and would start ten others."""
    again = [{"name": "job", "states": ["succeeded"]}] * 10
    hive.put(tasks={"a": {"run": "true", "if": "false"}}, on={"job": again})
    hive.do(StartRun(project="default", job="job"))
    job = hive.state.find_job("default", "job")
    assert job and job.runs <= STARTS_LIMIT + 1
    assert "at once" in hive.state.work.unstarted[0][2]


def nested(times: int, depth: int) -> dict[str, object]:
    inner: dict[str, object] = {"run": "true"} if depth == 1 else {"tasks": {"a": nested(times, depth - 1)}}
    return {"for_each": f"${{{{ range({times}) }}}}", **inner}


def test_fan_outs_within_fan_outs_are_not_made_all_at_once(
    hive: JobsHive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hivemind.jobs.workflow.fanout.BURST", 100)
    hive.put(tasks={"a": nested(30, 4)})
    run = hive.start()
    assert len(hive.state.task_runs) < 1000
    hive.cancel(run)
    hive.stop_done()
    assert hive.run(run).state.ended


def test_all_of_nested_fan_outs_run_in_the_end(hive: JobsHive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hivemind.jobs.workflow.fanout.BURST", 5)
    hive.put(tasks={"a": nested(4, 3)})
    run = hive.start()
    hive.all_well()
    assert hive.run(run).state is RunState.SUCCEEDED
    assert hive.state_of(run, "a[3].a[3].a[3]") is TaskState.SUCCEEDED


def test_a_run_has_no_more_tasks_than_may_be(hive: JobsHive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hivemind.state.jobs.book.MOST_TASKS", 50)
    hive.put(tasks={"a": nested(5, 4)})
    run = hive.start()
    hive.all_well()
    hive.stop_done()
    assert hive.run(run).state is RunState.FAILED
    assert "that is the most" in hive.run(run).reason
    assert len(hive.state.task_runs) <= 50


def test_runs_within_runs_begin_by_and_by(hive: JobsHive, monkeypatch: pytest.MonkeyPatch) -> None:
    """No batch takes for ever, whatever it sets going; all of it runs nevertheless."""
    monkeypatch.setattr("hivemind.state.jobs.waiting._ENOUGH", 50)
    hive.put("leaf", tasks={"a": {"run": "true"}})
    hive.put("inner", tasks={f"t{number}": {"job": "leaf"} for number in range(9)})
    hive.put("outer", tasks={f"t{number}": {"job": "inner"} for number in range(9)})
    run = hive.start("outer")
    begun = len(hive.state.task_runs)
    assert begun < 60
    hive.restart()
    hive.until(hive.time + 100)
    assert len(hive.state.task_runs) > begun
    for _ in range(20):
        hive.all_well()
        hive.until(hive.time + 100)
    assert hive.run(run).state is RunState.SUCCEEDED


def test_the_hive_holds_so_many_tasks_and_no_more(hive: JobsHive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hivemind.state.jobs.runs._TASKS_LIMIT", 3)
    hive.put(tasks={"a": {"run": "true"}})
    for _ in range(3):
        hive.start()
    assert "has 3 tasks" in hive.do(StartRun(project="default", job="job"), refused=True).message


def test_a_profile_is_not_nested_without_end(hive: JobsHive) -> None:
    profile = '{"defaultAction": "SCMP_ACT_ALLOW", "x": ' + DEEP + "}"
    with pytest.raises(Invalid, match="nested"):
        hive.put(tasks={"a": {"image": "a", "isolation": {"seccomp": profile}}})
    outcome = hive.deploy(isolation=Isolation(seccomp=profile), refused=True)
    assert "nested" in outcome.message


def test_a_constraint_is_not_looked_at_without_end(hive: JobsHive) -> None:
    """Each further blank was once tried with all the others."""
    outcome = hive.deploy(constraints=("node.name==a" + " " * 300_000 + "b",), refused=True)
    assert "500 characters" in outcome.message


@pytest.mark.parametrize(
    "task",
    [
        {"run": "true", "for_each": [["${{ inputs.p }}"]]},
        {"run": "true", "matrix": {"a": [{"b": "${{ inputs.p }}"}]}},
        {"run": "true", "matrix": {"a": [1]}, "include": [{"b": "${{ inputs.p }}"}]},
        {"job": "other", "with": {"x": ["${{ inputs.p }}"]}},
    ],
)
def test_a_secret_is_hidden_in_no_list(hive: JobsHive, task: dict[str, object]) -> None:
    """It would be kept where everybody sees it, and be another thing after a restart."""
    hive.put("other", inputs={"x": {"type": "list"}}, tasks={"a": {"run": "true"}})
    hive.put(inputs={"p": {"secret": True}}, tasks={"a": task})
    outcome = hive.do(StartRun(project="default", job="job", sealed={"p": b"SECRET"}))
    failed = hive.task(outcome.id, "a")
    assert failed.state is TaskState.FAILED and "secret" in failed.reason
    assert not hive.state.items and not hive.attempts()
    hive.restart()
