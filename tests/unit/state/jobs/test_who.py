"""Whoever wished something of a run stands on record, with the reason."""

from __future__ import annotations

from hivemind.model.run import Run
from hivemind.state.operations import Approve, CancelRun, PauseRun, RetryRun
from jobs_hive import JobsHive


def wishes(hive: JobsHive, run: Run) -> list[tuple[str, str]]:
    """Of the run: what people wished, and who."""
    return [(mark.why, mark.by) for mark in hive.run(run).marks if mark.by]


def test_of_a_run() -> None:
    hive = JobsHive()
    hive.put(tasks={"a": {"run": "x"}})
    run = hive.start()
    hive.do(PauseRun(project="default", run=run.id, paused=True))
    hive.do(PauseRun(project="default", run=run.id, paused=True))
    hive.do(PauseRun(project="default", run=run.id, paused=False))
    hive.do(CancelRun(project="default", run=run.id, reason="wrong day"))
    hive.stop_done()
    hive.do(RetryRun(project="default", run=run.id, paths=()))
    assert wishes(hive, run) == [
        ("", "admin"),
        ("paused", "admin"),
        ("no longer paused", "admin"),
        ("wrong day", "admin"),
        ("it is to be done again", "admin"),
    ]


def test_of_tasks_and_of_what_they_wait_for() -> None:
    hive = JobsHive()
    hive.put("inner", tasks={"a": {"run": "x"}})
    hive.put(
        tasks={
            "go": {"approval": "Ship it?"},
            "call": {"job": "inner"},
            "late": {"run": "x", "needs": ["call"]},
        }
    )
    run = hive.start()
    inner = hive.task(run, "call").child
    hive.do(Approve(project="default", run=run.id, path="go", approved=True, comment="well done"))
    hive.cancel(run, "call")
    assert (hive.task(run, "go").marks[-1].why, hive.task(run, "go").marks[-1].by) == (
        "approved by admin: well done", "admin",
    )  # fmt: skip
    assert hive.task(run, "call").marks[-1].by == "admin"
    assert wishes(hive, hive.run(inner)) == [("canceled by admin", "admin")]
    hive.stop_done()
    assert not hive.task(run, "late").marks[-1].by, "nobody wished that: it followed"
