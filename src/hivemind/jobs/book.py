"""What a workflow reads and writes: the records of one run, wherever they are kept.

In the hive that is its state (`state.work`); in tests it is a dictionary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from hivemind.model.job import JobSpec
from hivemind.model.run import Cause, Run, TaskRun, TaskState

MOST_TASKS = 200_000
"""Task runs of one run: fan-outs within fan-outs would have more than a machine can hold."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended. `outputs` is what it wrote, as text."""

    cause: Cause = "exit"
    exit_code: int | None = None
    """Of cause `signal`: 128 and its number."""
    reason: str = ""
    outputs: dict[str, Any] = {}
    nodes: tuple[str, ...] = ()
    started: int = 0
    """Milliseconds; 0: it never began."""


class Book(Protocol):
    """The records of one run. Everything is there at once after it was put."""

    @property
    def now(self) -> int:
        """Milliseconds since 1970."""

    @property
    def run(self) -> Run: ...

    @property
    def spec(self) -> JobSpec:
        """The definition that the run began with, calls of library routines resolved to their versions."""

    def put_run(self, run: Run) -> None: ...

    def get(self, path: str) -> TaskRun | None: ...

    def put(self, task: TaskRun) -> None: ...

    @property
    def room(self) -> int:
        """How many further task runs it may get."""

    def enqueue(self, task: TaskRun) -> None:
        """Puts it as queued: from now on it may be given a place at any time, which `Workflow.placed` tells."""

    def items(self, path: str) -> list[Any]:
        """What `put_items` kept for that fan-out."""

    def put_items(self, path: str, items: list[Any]) -> None: ...

    def tally(self, path: str) -> Mapping[TaskState, int]:
        """How many of what is directly in a group (its hooks, too), in a fan-out, or in the run when `path` is empty,
        are in which state. Costs no look at each."""

    def halt(self, task: TaskRun, why: str, *, kill: bool = False) -> None:
        """Its live allocations shall stop, or its child run be canceled. That they have is told later by
        `Workflow.ended` or `Workflow.child_ended`, never before this returns."""

    def begin_child(self, task: TaskRun, job: str, inputs: dict[str, Any]) -> str:
        """Starts a run of another job of the project, for attempt number `task.attempt`, at depth `run.depth + 1`;
        its id. Raises `HivemindError`."""

    def notify(self, on: str, why: str) -> None:
        """An occasion of `Notify.on` has come."""
