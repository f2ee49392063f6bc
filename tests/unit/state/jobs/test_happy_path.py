"""From a definition to the end of a run."""

from __future__ import annotations

from hivemind.model.run import RunState, TaskState
from jobs_hive import JobsHive


def test_a_run_goes_from_its_start_to_its_end() -> None:
    hive = JobsHive()
    hive.put(tasks={"a": {"run": "true"}, "b": {"run": "true", "needs": ["a"]}})
    run = hive.start()
    assert hive.run(run).state is RunState.RUNNING
    assert hive.state_of(run, "a") is TaskState.RUNNING and hive.state_of(run, "b") is TaskState.PENDING
    hive.succeed(run, "a")
    assert [a.path for a in hive.attempts()] == ["b"]
    hive.succeed(run, "b")
    assert hive.run(run).state is RunState.SUCCEEDED
    assert hive.attempts() == [] and hive.state.deadline() is not None
