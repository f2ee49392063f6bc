"""The book of a run over the hive's state: what its workflow reads and writes. Cheap to make, for each event anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec.structs import replace

from hivemind.errors import Conflict, Invalid, NotFound
from hivemind.jobs.book import MOST_TASKS
from hivemind.jobs.expression import holds_secret
from hivemind.jobs.plan import Plan
from hivemind.jobs.queue import rank
from hivemind.jobs.workflow import Workflow
from hivemind.model.allocation import Desired
from hivemind.model.job import JobSpec
from hivemind.model.run import Items, Run, Start, TaskRun, TaskState, task_key
from hivemind.state.jobs import notices
from hivemind.state.jobs.lanes import lane_for, priority_of
from hivemind.state.state import State

Halted = Literal["canceled", "preempted", "lost"]
DEPTH_LIMIT = 10
"""Runs that wait for each other, one inside another: more are a job that calls itself."""


class StateBook:
    """Keeps `jobs.book.Book`."""

    def __init__(self, state: State, run: str) -> None:
        self._state = state
        self._run = run
        self.plan = Plan.of(self.spec)

    @property
    def now(self) -> int:
        return self._state.time

    @property
    def run(self) -> Run:
        return self._state.runs[self._run]

    @property
    def spec(self) -> JobSpec:
        return self._state.definition_of(self.run).spec

    def put_run(self, run: Run) -> None:
        self._state.tables.put(self._state.runs, run.id, run)

    def get(self, path: str) -> TaskRun | None:
        return self._state.task_runs.get(task_key(self._run, path))

    def put(self, task: TaskRun) -> None:
        self._state.tables.put(self._state.task_runs, task_key(self._run, task.path), task)

    @property
    def room(self) -> int:
        return MOST_TASKS - len(self._state.work.families.paths(self._run))

    def enqueue(self, task: TaskRun) -> None:
        node = self.plan.node(task.path)
        lane = lane_for(self._state, self, node, task.path)
        turn = rank(task.ready or self.now, priority_of(self.run, node))
        self.put(replace(task, state=TaskState.QUEUED, lane=lane, rank=turn, promised=()))

    def items(self, path: str) -> list[Any]:
        found = self._state.items.get(task_key(self._run, path))
        return found.values if found else []

    def put_items(self, path: str, items: list[Any]) -> None:
        record = Items(run=self._run, path=path, values=items)
        self._state.tables.put(self._state.items, task_key(self._run, path), record)

    def tally(self, path: str) -> Mapping[TaskState, int]:
        return self._state.work.families.tally(self._run, path)

    def halt(self, task: TaskRun, why: str, *, kill: bool = False) -> None:
        for id in task.allocations:
            halt_attempt(self._state, id, why, kill=kill)
        child = self._state.runs.get(task.child) if task.child else None
        if child is not None and not child.state.ended:
            by = task.marks[-1].by if task.marks else ""  # of whoever wished that it stops
            workflow(self._state, child.id).cancel(why, by, kill=kill)

    def begin_child(self, task: TaskRun, job: str, inputs: dict[str, Any]) -> str:
        from hivemind.state.jobs.runs import start_run

        run = self.run
        found = self._state.find_job(run.project, job)
        if found is None:
            raise NotFound(
                f"there is no job {job!r} in project {run.project!r}", hint="hivemind job ls shows them"
            )
        if run.depth >= DEPTH_LIMIT:
            raise Conflict(f"{run.name} is {run.depth} jobs deep in others", hint="no job may call itself")
        for name, value in inputs.items():
            if holds_secret(value):
                raise Invalid(
                    f"the secret {name} cannot be passed on to the job {job}",
                    hint="let that job take it from a secret of the project, with env_from",
                )
        key = task_key(run.id, task.path)
        start = Start(kind="parent", source=run.name, time=self.now)
        begun = start_run(
            self._state, found, start, inputs, f"{key}/{task.attempt}",
            priority=priority_of(run, self.plan.node(task.path)), parent=key, depth=run.depth + 1,
        )  # fmt: skip
        return begun.id

    def notify(self, on: str, why: str) -> None:
        notices.notify(self._state, self.run, on, why)


def workflow(state: State, run: str) -> Workflow:
    book = StateBook(state, run)
    return Workflow(book.plan, book)


def halt_attempt(
    state: State, id: str, why: str, *, kill: bool = False, halted: Halted = "canceled", room_for: str = ""
) -> None:
    """Its node shall stop it, and says so when it has. What it was told first holds."""
    old = state.allocations.get(id)
    if old is None or not old.live or (old.desired is Desired.STOP and (old.kill or not kill)):
        return
    new = replace(old, kill=old.kill or kill, updated=state.time)
    if old.desired is not Desired.STOP:
        new = replace(new, desired=Desired.STOP, reason=why, halted=halted, makes_room_for=room_for)
    state.tables.put(state.allocations, id, new)
