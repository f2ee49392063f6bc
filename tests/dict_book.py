"""A book in memory. What it keeps is encoded and read again, as it would be after a crash."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from hivemind.errors import HivemindError
from hivemind.jobs.book import MOST_TASKS
from hivemind.jobs.plan import Plan, parent_of
from hivemind.model.job import JobSpec
from hivemind.model.run import Run, RunState, Start, TaskRun, TaskState


class DictBook:
    """`calls` counts every look and every change: what an event costs."""

    def __init__(self, spec: JobSpec, **run: Any) -> None:
        self.spec = spec
        self.now = 1_000_000
        self.calls = 0
        self.run = Run(
            id="r1", project="default", job="j1", job_name="nightly", number=7, definition=1,
            start=Start(kind="person", by="ann"), created=self.now, **run,
        )  # fmt: skip
        self.tasks: dict[str, TaskRun] = {}
        self._items: dict[str, list[Any]] = {}
        self._tallies: defaultdict[str, Counter[TaskState]] = defaultdict(Counter)
        self.log: list[str] = []
        """Every change of a state and everything that was wished, in words."""
        self.halted: list[str] = []
        self.called: list[str] = []
        self.refuse: HivemindError | None = None

    @property
    def plan(self) -> Plan:
        return Plan.of(self.spec)

    def put_run(self, run: Run) -> None:
        self.calls += 1
        if run.state is not self.run.state:
            self.log.append(f"the run: {run.state}{_why(run.reason)}")
        elif run.fate and not self.run.fate:
            self.log.append(f"the run stops: {run.canceling}")
        self.run = run

    def get(self, path: str) -> TaskRun | None:
        self.calls += 1
        return self.tasks.get(path)

    def put(self, task: TaskRun) -> None:
        self.calls += 1
        old = self.tasks.get(task.path)
        tally = self._tallies[parent_of(task.path)]
        if old is not None:
            tally[old.state] -= 1
        tally[task.state] += 1
        self.tasks[task.path] = task
        if (
            (old.state, old.reason) != (task.state, task.reason)
            if old
            else task.state is not TaskState.PENDING
        ):
            self.log.append(f"{task.path}: {task.state}{_why(task.reason)}")

    @property
    def room(self) -> int:
        return MOST_TASKS - len(self.tasks)

    def enqueue(self, task: TaskRun) -> None:
        assert task.state is TaskState.QUEUED
        self.put(task)

    def items(self, path: str) -> list[Any]:
        return self._items[path]

    def put_items(self, path: str, items: list[Any]) -> None:
        self._items[path] = items

    def tally(self, path: str) -> Mapping[TaskState, int]:
        self.calls += 1
        return self._tallies[path]

    def halt(self, task: TaskRun, why: str, *, kill: bool = False) -> None:
        self.halted.append(task.path)
        self.log.append(f"{'kill' if kill else 'halt'} {task.path} ({why})")

    def begin_child(self, task: TaskRun, job: str, inputs: dict[str, Any]) -> str:
        if self.refuse is not None:
            raise self.refuse
        self.called.append(task.path)
        self.log.append(f"{task.path} runs {job} with {inputs}")
        return f"{task.path}#{task.attempt}"

    def notify(self, on: str, why: str) -> None:
        self.log.append(f"tell: {on}{_why(why)}")

    def child_run(self, place: str, state: RunState, **given: Any) -> Run:
        """The run that the task there waits for, ended."""
        run = replace(
            self.run, id=self.tasks[place].child, job_name="child", number=1, state=state, outputs={}
        )
        return replace(run, **given)


def _why(reason: str) -> str:
    return f" ({reason})" if reason else ""
