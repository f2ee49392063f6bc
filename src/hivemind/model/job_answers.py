"""What the API answers about jobs beside documents: definitions, schedules, the queue, histories, artifacts."""

from __future__ import annotations

from typing import Any

import msgspec

from hivemind.model.base import Document
from hivemind.model.job import JobSpec, Schedule


class DefinitionDocument(Document, frozen=True, kw_only=True):
    """One version of what a job is."""

    job: str
    number: int
    spec: JobSpec
    by: str
    created: int


class ScheduleDocument(Document, frozen=True, kw_only=True):
    """One schedule of a job and when it is due. Times are milliseconds since 1970."""

    job: str
    name: str
    schedule: Schedule
    next: tuple[int, ...]
    """Its next times, the first first; none when it is over. Those of a paused one are when it would be due."""
    seen: int
    """The last of its times that was decided about; 0: none yet."""
    paused: bool


class Finding(Document, frozen=True, kw_only=True):
    """One mistake in a definition. `line` and `column` count from 1; 0: not known."""

    path: str
    """Where in the definition: `tasks.train.retry.max`."""
    message: str
    hint: str = ""
    line: int = 0
    column: int = 0


class Validation(Document, frozen=True, kw_only=True):
    """What is to be said of a definition. One without findings is valid; `manifest` is its canonical form."""

    findings: tuple[Finding, ...]
    manifest: dict[str, Any] | None = None


class Waiting(Document, frozen=True, kw_only=True):
    """What waits, and what its place in the queue is made of (milliseconds)."""

    position: int
    """From 1, among all tasks of the hive that wait for a place or a limit; 0: a run that waits for other runs."""
    run: str
    path: str
    """Of the task; empty: the run itself."""
    priority: int
    ready: int
    """When it could begin, but for a place."""
    rank: int
    """What is smaller comes first: `ready`, less 36 seconds for each point of priority, and `share`."""
    share: int
    """How far its project is put back for what it has running already, against its weight."""
    reason: str


class HistoryEntry(Document, frozen=True, kw_only=True):
    """One transition of a run or of one of its tasks."""

    time: int
    """Milliseconds since 1970."""
    path: str
    """Empty: the run itself."""
    state: str
    why: str
    by: str
    """Name of whoever wished it; empty: it followed."""


class ArtifactEntry(Document, frozen=True, kw_only=True):
    """Files that a task left, kept on its node."""

    path: str
    """Of the task."""
    name: str
    size: int
    files: int
    attempt: int
    node: str
    """Its name."""


class ArtifactList(msgspec.Struct, frozen=True, kw_only=True):
    items: list[ArtifactEntry]
    unreached: list[str] = []
    """Which nodes could not be asked, and since when."""


class BackfillDocument(Document, frozen=True, kw_only=True):
    """For which times (ms) a backfill makes runs; those that ran already are not among them."""

    job: str
    schedule: str
    times: tuple[int, ...]


class StartedRun(Document, frozen=True, kw_only=True):
    job: str
    name: str
    id: str


class RaisedDocument(Document, frozen=True, kw_only=True):
    """What an event has started."""

    runs: tuple[StartedRun, ...]
    problems: tuple[str, ...]
    """Jobs that should have been started and were not, each with the reason."""


class QueueDocument(Document, frozen=True, kw_only=True):
    """A queue that is, or was, paused. The empty key is all of the project."""

    key: str
    paused: bool
    by: str
    since: int
