"""The run: one execution of a job; and its task runs, one for each task, group and member of a fan-out.

A task run is named by its path: `ml.train` is `train` of the group `ml`, `build[2]` the third member of a fan-out
(`build` itself stands for all of them), `finally.tidy` a task of the job's `finally`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import msgspec

from hivemind.model.base import Document, Record
from hivemind.model.resource import Column, Resource


class TaskState(StrEnum):
    PENDING = "pending"
    """What it needs is not decided."""
    BLOCKED = "blocked"
    """It could begin, but for an approval, a delay before the next attempt, an open circuit, a pause."""
    QUEUED = "queued"
    """It waits for a place, or for a limit."""
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    SKIPPED = "skipped"
    TIMED_OUT = "timed out"
    LOST = "lost"
    """Its nodes were lost more often than it may be begun anew."""

    @property
    def decided(self) -> bool:
        return self not in UNDECIDED

    @property
    def failure(self) -> bool:
        return self in (TaskState.FAILED, TaskState.TIMED_OUT, TaskState.LOST)


UNDECIDED = (TaskState.PENDING, TaskState.BLOCKED, TaskState.QUEUED, TaskState.RUNNING)


class RunState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    TIMED_OUT = "timed out"
    SKIPPED = "skipped"
    """Its job's limits or overlap policy did not let it begin."""

    @property
    def ended(self) -> bool:
        return self not in (RunState.QUEUED, RunState.RUNNING)


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """One transition: when (ms), to what, why, and the name of whoever wished it; empty: it followed."""

    time: int
    state: str
    why: str = ""
    by: str = ""


Cause = Literal["exit", "signal", "oom", "timeout", "start", "lost", "preempted", "canceled", "circuit"]
"""Why an attempt ended; `start`: it never began."""


class Attempt(Record, frozen=True, kw_only=True):
    """One attempt at a task that has ended, as the hive remembers it. A gang's members end as one."""

    number: int
    allocations: tuple[str, ...]
    nodes: tuple[str, ...]
    """Ids, one for each allocation."""
    started: int = 0
    ended: int = 0
    cause: Cause = "exit"
    exit_code: int | None = None
    reason: str = ""


class TaskRun(Record, frozen=True, kw_only=True):
    """Its key is `<run>/<path>`. Live attempts are allocations; ended ones are in `attempts`."""

    run: str
    path: str
    state: TaskState = TaskState.PENDING
    reason: str = ""
    attempt: int = 0
    """Fencing number of the newest attempt; never used twice."""
    allocations: tuple[str, ...] = ()
    """Of the attempt that runs, by rank."""
    nodes: tuple[str, ...] = ()
    """Ids of those they are on."""
    ended_members: tuple[int, ...] = ()
    """Ranks of the gang that have ended already, well or not."""
    ending: Attempt | None = None
    """What the attempt comes to, as far as ended members tell: the first that did not end well, or member 0."""
    fate: TaskState | None = None
    """What it will be when nothing of it runs any more: it was told to stop, and `reason` says why."""
    spent: int = 0
    """Of `retry.max`."""
    losses: int = 0
    """Of `retry.losses`."""
    due: int = 0
    """Milliseconds: a blocked one goes on, a running one is too late. 0: no such time."""
    met: int = 0
    """So many of its needs, in their order, are decided and met; it is the next one that it waits for."""
    ready: int = 0
    """When its needs were decided; its place in the queue goes by this."""
    rank: int = 0
    """Its place in the queue: what is smaller comes first; see `jobs.queue`."""
    promised: tuple[str, ...] = ()
    """Of a queued one that has waited long: ids of the nodes on which room is kept for it."""
    lane: str = ""
    """Those that wait for the same limits and the same kind of place."""
    index: int = -1
    """Which member of a fan-out it is."""
    item: Any = None
    """Its value of `for_each`, or its values of `matrix` by name."""
    total: int = 0
    """Of a fan-out: how many members."""
    made: int = 0
    """Of a fan-out: how many of them have a task run by now."""
    circuit: str = ""
    """It probes that circuit."""
    child: str = ""
    """Id of the run of another job that it waits for."""
    exit_code: int | None = None
    outputs: dict[str, Any] = {}
    attempts: tuple[Attempt, ...] = ()
    """The newest ten."""
    created: int = 0
    started: int = 0
    ended: int = 0
    marks: tuple[Mark, ...] = ()
    """The newest fifty."""


class Start(Record, frozen=True, kw_only=True):
    """What started a run."""

    kind: Literal["person", "schedule", "backfill", "webhook", "event", "file", "job", "app", "parent"]
    source: str = ""
    """Name of the schedule, webhook, event type, job or app."""
    time: int = 0
    """When (ms) it was due."""
    by: str = ""
    """Name of the person."""
    event: Any = None
    """What came with the event."""
    depth: int = 0
    """How many runs stand behind it of which each started the next."""

    @property
    def told(self) -> str:
        """`ada`, `schedule night`, `event order.paid`; the run that another one waits for goes by that one's name."""
        if self.kind == "person":
            return self.by or "a person"
        return self.source if self.kind == "parent" else f"{self.kind} {self.source}".rstrip()


class Run(Record, frozen=True, kw_only=True):
    """Its id is derived from the job and what started it, so everyone who sees the same tick makes the same run."""

    id: str
    project: str
    job: str
    job_name: str
    number: int
    definition: int
    start: Start
    inputs: dict[str, Any] = {}
    sealed: dict[str, bytes] = {}
    """Secret inputs."""
    priority: int = 50
    state: RunState = RunState.QUEUED
    reason: str = ""
    paused: bool = False
    """What runs goes on, nothing further begins."""
    canceling: str = ""
    """Why it is being stopped; it ends when nothing of it runs any more."""
    fate: RunState | None = None
    """What it will be then: canceled, timed out, or failed at its first failure."""
    depth: int = 0
    """How many runs of other jobs wait for it, one inside another."""
    key: str = ""
    """Of its job's concurrency."""
    parent: str = ""
    """Key of the task run that waits for it."""
    outputs: dict[str, Any] = {}
    due: int = 0
    """When (ms) its timeout passes; 0: it has none."""
    late: bool = False
    created: int = 0
    started: int = 0
    ended: int = 0
    marks: tuple[Mark, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.job_name}-{self.number}"


class Items(Record, frozen=True, kw_only=True):
    """What the members of a fan-out are made of, as it was when the fan-out began. Its key is that of the task run,
    which changes with every member and must stay small."""

    run: str
    path: str
    values: list[Any]


def task_key(run: str, path: str) -> str:
    return f"{run}/{path}"


def run_and_path(key: str) -> tuple[str, str]:
    """What the key of a task run was made of."""
    run, _, path = key.partition("/")
    return run, path


def input_context(project: str, job: str, name: str) -> str:
    """What a secret input, in `Run.sealed`, is bound to: see `security.sealing`. `job` is its name. What is sealed is
    the text of a string, and of anything else its JSON."""
    return f"input/{project}/{job}/{name}"


class Tally(Document, frozen=True, kw_only=True):
    """Task runs that are tasks (not groups or fan-outs), by state."""

    total: int = 0
    waiting: int = 0
    """Pending, blocked or queued."""
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    """Timed out and lost ones, too."""
    skipped: int = 0
    """Canceled ones, too."""


class RunDocument(Document, frozen=True, kw_only=True):
    kind: Literal["Run"] = "Run"
    project: str
    name: str
    id: str
    job: str
    definition: int
    start: Start
    inputs: dict[str, Any]
    """Secret ones as `***`."""
    priority: int
    state: str
    reason: str
    paused: bool
    late: bool
    outputs: dict[str, Any]
    tally: Tally
    created: int
    started: int
    ended: int
    marks: tuple[Mark, ...]

    @property
    def shown(self) -> str:
        return f"{self.state} (paused)" if self.paused and self.state in ("queued", "running") else self.state

    @property
    def progress(self) -> str:
        over = self.tally.succeeded + self.tally.failed + self.tally.skipped
        return f"{over}/{self.tally.total}"

    @property
    def cause(self) -> str:
        return self.start.told


class TaskRunDocument(Document, frozen=True, kw_only=True):
    """One task run as the API shows it."""

    path: str
    role: Literal["task", "group", "fan-out", "approval", "job"]
    state: str
    reason: str
    """Of one that waits, why it does, computed when asked."""
    needs: tuple[str, ...]
    attempt: int
    attempts: tuple[Attempt, ...]
    allocations: tuple[str, ...] = ()
    """Ids of the attempt that runs, by rank."""
    nodes: tuple[str, ...]
    """Names of the nodes that it runs, or last ran, on."""
    exit_code: int | None
    item: Any
    child: str = ""
    """Name of the run of another job that it is, or was."""
    outputs: dict[str, Any]
    due: int
    created: int
    started: int
    ended: int
    marks: tuple[Mark, ...]


RUN = Resource(
    kind="Run",
    plural="runs",
    short="r",
    scope="project",
    document=RunDocument,
    columns=(
        Column("NAME", "name"),
        Column("STATE", "shown"),
        Column("TASKS", "progress"),
        Column("STARTED BY", "cause"),
        Column("AGE", "created", format="age"),
        Column("ID", "id", wide=True),
        Column("REASON", "reason", wide=True),
    ),
)
