"""What is told of jobs as events: what people want to hear, not each step."""

from __future__ import annotations

from typing import Any

import pytest

from hivemind.daemon.job_herald import JobHerald
from hivemind.state.operations import Approve, CancelRun, DeleteJob, Operation, PauseJob, PutJob, StartRun
from tests.unit.api.backend import ADMIN, MemoryBackend
from tests.unit.api.jobs import allow, end, job


class Told:
    """A node in memory whose batches the herald tells."""

    def __init__(self) -> None:
        self.backend = MemoryBackend()
        self.events: list[tuple[str, str, str, str]] = []
        allow(self.backend)
        herald = JobHerald(self.backend.state, self)  # type: ignore[arg-type]
        self.backend.on_change(lambda changes: herald.agreed(None))  # type: ignore[arg-type]

    def append(self, type: str, message: str = "", *, name: str = "", by: str = "", **_: Any) -> None:
        self.events.append((type, name, message, by))

    def do(self, operation: Operation) -> None:
        self.backend.apply(operation, ADMIN)

    def take(self) -> list[tuple[str, str, str, str]]:
        taken, self.events = self.events, []
        return taken


@pytest.fixture
def told() -> Told:
    return Told()


def test_a_run_is_told_from_its_start_to_its_end(told: Told) -> None:
    told.do(
        PutJob(
            project="default",
            manifest=job("etl", tasks={"a": {"run": "x"}, "b": {"run": "y", "needs": ["a"]}}),
        )
    )
    assert told.take() == [("job.created", "etl", "definition 1", "ada")]
    told.do(StartRun(project="default", job="etl"))
    assert told.take() == [("run.started", "etl-1", "", "ada")]
    end(told.backend, "etl-1", "a")
    assert told.take() == []
    end(told.backend, "etl-1", "b")
    assert [event[:2] for event in told.take()] == [("run.succeeded", "etl-1")]
    told.do(PauseJob(project="default", name="etl"))
    told.do(DeleteJob(project="default", name="etl"))
    assert [event[0] for event in told.take()] == ["job.paused", "job.removed"]


def test_failures_and_further_attempts_are_told(told: Told) -> None:
    tasks = {"a": {"run": "x", "retry": {"max": 1, "delay": "0s"}}}
    told.do(PutJob(project="default", manifest=job("etl", tasks=tasks)))
    told.do(StartRun(project="default", job="etl"))
    told.take()
    end(told.backend, "etl-1", "a", exit_code=3)
    [(type, name, message, _)] = told.take()
    assert (type, name) == ("task.retried", "etl-1/a")
    assert "exit code 3" in message
    told.do(PauseJob(project="default", name="etl"))  # time goes on
    end(told.backend, "etl-1", "a", exit_code=3)
    assert [event[:2] for event in told.take()] == [
        ("job.paused", "etl"), ("task.failed", "etl-1/a"), ("run.failed", "etl-1"),
    ]  # fmt: skip


def test_an_approval_is_asked_for(told: Told) -> None:
    told.do(
        PutJob(project="default", manifest=job("go", tasks={"gate": {"approval": {"message": "really?"}}}))
    )
    told.do(StartRun(project="default", job="go"))
    assert ("task.approval-wanted", "go-1/gate") in [event[:2] for event in told.take()]
    told.do(Approve(project="default", run=next(iter(told.backend.state.runs)), path="gate"))
    assert [event[0] for event in told.take()] == ["run.succeeded"]


def test_many_failing_members_are_not_told_one_by_one(told: Told) -> None:
    fan = {"a": {"run": "x", "for_each": list(range(30)), "fail_fast": False, "resources": {"cpus": 0.01}}}
    told.do(PutJob(project="default", manifest=job("wide", tasks=fan)))
    told.do(StartRun(project="default", job="wide"))
    told.take()
    for _ in range(30):
        running = [t for t in told.backend.state.task_runs.values() if t.allocations and t.path.endswith("]")]
        for each in running:
            end(told.backend, "wide-1", each.path, exit_code=1)
    failed = [event for event in told.take() if event[0] == "task.failed"]
    assert len(failed) == 10


def test_who_canceled_is_told(told: Told) -> None:
    told.do(PutJob(project="default", manifest=job("go", tasks={"gate": {"approval": {}}})))
    told.do(StartRun(project="default", job="go"))
    told.take()
    told.do(CancelRun(project="default", run=next(iter(told.backend.state.runs)), reason="no"))
    assert [event for event in told.take() if event[0] == "run.canceled"]
