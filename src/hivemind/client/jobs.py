"""Jobs, runs, circuits and the queue: what can be done with them beyond list, get, put and delete."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from hivemind.client.collection import Collection
from hivemind.client.connection import STREAM_SILENCE, Connection, understood
from hivemind.client.streams import Message, lines, server_sent_events
from hivemind.model.answers import LogEntry, Page
from hivemind.model.base import encode
from hivemind.model.circuit import CIRCUIT, CircuitDocument
from hivemind.model.job import JOB, JobDocument
from hivemind.model.job_answers import (
    ArtifactEntry,
    ArtifactList,
    BackfillDocument,
    DefinitionDocument,
    HistoryEntry,
    QueueDocument,
    RaisedDocument,
    ScheduleDocument,
    Validation,
    Waiting,
)
from hivemind.model.names import DEFAULT_PROJECT
from hivemind.model.run import RUN, RunDocument, TaskRunDocument

_PAGE = 500


class Jobs(Collection[JobDocument]):
    """
    hive.jobs.put(JobManifest(name="nightly", spec=JobSpec(tasks={"get": Task(run="make data")})))
    run = hive.jobs.run("nightly", inputs={"day": "mon"})
    for change in hive.runs.watch(run.name): ...
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, JOB)

    def run(
        self,
        name: str,
        project: str = DEFAULT_PROJECT,
        *,
        inputs: Mapping[str, Any] | None = None,
        priority: int | None = None,
        key: str = "",
    ) -> RunDocument:
        """Starts a run. The same `key` gives the same run again."""
        body = encode({"inputs": dict(inputs or {}), "priority": priority, "key": key})
        return understood(self._post(name, "run", project, body), RunDocument)

    def raise_event(
        self, type: str, payload: Any = None, project: str = DEFAULT_PROJECT, *, key: str = ""
    ) -> RaisedDocument:
        """Starts every job with a trigger for it. The same `key` is the same event, and starts nothing twice."""
        body = encode({"type": type, "payload": payload, "key": key})
        path = f"/v1/projects/{quote(project, safe='')}/job-events"
        return understood(self._connection.call("POST", path, body=body).body, RaisedDocument)

    def pause(
        self, name: str, project: str = DEFAULT_PROJECT, *, schedules: Sequence[str] = ()
    ) -> JobDocument:
        """Nothing but people starts it; with `schedules`, these do not."""
        body = encode({"schedules": tuple(schedules)})
        return understood(self._post(name, "pause", project, body), JobDocument)

    def resume(
        self, name: str, project: str = DEFAULT_PROJECT, *, schedules: Sequence[str] = ()
    ) -> JobDocument:
        body = encode({"schedules": tuple(schedules)})
        return understood(self._post(name, "resume", project, body), JobDocument)

    def backfill(
        self,
        name: str,
        since: int,
        until: int,
        project: str = DEFAULT_PROJECT,
        *,
        schedule: str = "",
        newest_first: bool = False,
        dry_run: bool = False,
    ) -> BackfillDocument:
        """A run for each time of a schedule from `since` up to, but without, `until` (ms)."""
        body = encode({"schedule": schedule, "since": since, "until": until, "newest_first": newest_first})
        query = {"dry_run": "true"} if dry_run else None
        answer = self._connection.call("POST", f"{self.path(name, project)}/backfill", query=query, body=body)
        return understood(answer.body, BackfillDocument)

    def definitions(self, name: str, project: str = DEFAULT_PROJECT) -> list[DefinitionDocument]:
        """Those still kept, oldest first."""
        answer = self._connection.call("GET", f"{self.path(name, project)}/definitions")
        return understood(answer.body, Page[DefinitionDocument]).items

    def schedules(
        self, name: str, project: str = DEFAULT_PROJECT, *, count: int = 5
    ) -> list[ScheduleDocument]:
        answer = self._connection.call("GET", f"{self.path(name, project)}/schedules", query={"count": count})
        return understood(answer.body, Page[ScheduleDocument]).items

    def validate(self, text: bytes, media: str, project: str = DEFAULT_PROJECT) -> Validation:
        """What is to be said of a definition as people write it: YAML (`application/yaml`) or JSON."""
        answer = self._connection.call(
            "POST", f"{self.path(None, project)}:validate", body=text, headers={"Content-Type": media}
        )
        return understood(answer.body, Validation)

    def _post(self, name: str, verb: str, project: str, body: bytes) -> bytes:
        return self._connection.call("POST", f"{self.path(name, project)}/{verb}", body=body).body


class Change(msgspec.Struct, frozen=True):
    """One news of a watched run: `run`, `task`, `gone` (with `path` only), `ready` or `end`."""

    kind: str
    run: RunDocument | None = None
    task: TaskRunDocument | None = None
    path: str = ""


class Runs(Collection[RunDocument]):
    """Runs answer to their name (`nightly-7`), an id or its beginning, or to their job's name: its newest run."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, RUN)

    def of(
        self,
        job: str = "",
        project: str | None = DEFAULT_PROJECT,
        *,
        states: Sequence[str] = (),
    ) -> list[RunDocument]:
        """By job and number."""
        return list(self.each(project, query={"job": job, "state": tuple(states)}))

    def cancel(
        self,
        name: str,
        project: str = DEFAULT_PROJECT,
        *,
        paths: Sequence[str] = (),
        reason: str = "",
        kill: bool = False,
    ) -> RunDocument:
        """All of it, or some of its tasks. What runs is stopped gracefully, unless `kill`."""
        return self._verb(name, "cancel", project, {"paths": tuple(paths), "reason": reason, "kill": kill})

    def pause(self, name: str, project: str = DEFAULT_PROJECT) -> RunDocument:
        """What runs goes on, nothing further begins."""
        return self._verb(name, "pause", project, {})

    def unpause(self, name: str, project: str = DEFAULT_PROJECT) -> RunDocument:
        return self._verb(name, "unpause", project, {})

    def retry(self, name: str, project: str = DEFAULT_PROJECT, *, paths: Sequence[str] = ()) -> RunDocument:
        """An ended run goes on from what failed, or from these tasks."""
        return self._verb(name, "retry", project, {"paths": tuple(paths)})

    def approve(
        self,
        name: str,
        project: str = DEFAULT_PROJECT,
        *,
        path: str = "",
        approved: bool = True,
        comment: str = "",
    ) -> RunDocument:
        """`path` may be left out while only one approval waits."""
        return self._verb(name, "approve", project, {"path": path, "approved": approved, "comment": comment})

    def definition(self, name: str, project: str = DEFAULT_PROJECT) -> DefinitionDocument:
        """The one that the run began with."""
        answer = self._connection.call("GET", f"{self.path(name, project)}/definition")
        return understood(answer.body, DefinitionDocument)

    def tasks(
        self,
        name: str,
        project: str = DEFAULT_PROJECT,
        *,
        states: Sequence[str] = (),
        path: str = "",
    ) -> list[TaskRunDocument]:
        """By path. `path`: only that task, group or fan-out."""
        asked = {"state": tuple(states), "path": path}
        return list(self._pages(f"{self.path(name, project)}/tasks", TaskRunDocument, asked))

    def task(self, name: str, path: str, project: str = DEFAULT_PROJECT) -> TaskRunDocument:
        answer = self._connection.call("GET", f"{self.path(name, project)}/tasks/{quote(path, safe='')}")
        return understood(answer.body, TaskRunDocument)

    def history(self, name: str, project: str = DEFAULT_PROJECT, *, path: str = "") -> Iterator[HistoryEntry]:
        """Every transition, oldest first."""
        return self._pages(f"{self.path(name, project)}/history", HistoryEntry, {"path": path})

    def watch(self, name: str, project: str = DEFAULT_PROJECT) -> Iterator[Change]:
        """The run and its tasks as they are, `ready`, then each change, until `end`.

        After a broken connection all is told once more."""
        path = f"{self.path(name, project)}/watch"
        for message in server_sent_events(self._connection, path, {}, None):
            change = _change(message)
            yield change
            if change.kind == "end":
                return

    def logs(
        self,
        name: str,
        project: str = DEFAULT_PROJECT,
        *,
        task: str = "",
        attempt: int = 0,
        tail: int | None = None,
        since: int = 0,
        until: int = 0,
        grep: str = "",
    ) -> Iterator[LogEntry]:
        """What its tasks wrote, by time (nanoseconds since 1970; 0: no bound)."""
        query = {
            "task": task, "attempt": attempt or None, "tail": tail, "since": since or None, "until": until or None,
            "grep": grep,
        }  # fmt: skip
        for line in lines(self._connection, "GET", f"{self.path(name, project)}/logs", query=query):
            yield understood(line, LogEntry)

    def logs_follow(
        self,
        name: str,
        project: str = DEFAULT_PROJECT,
        *,
        task: str = "",
        attempt: int = 0,
        tail: int | None = None,
        since: int = 0,
        grep: str = "",
    ) -> Iterator[LogEntry]:
        """The same, then what comes, until the run has ended."""
        from hivemind.client.websocket import WebSocket

        query = {
            "task": task, "attempt": attempt or None, "tail": tail, "since": since or None, "grep": grep,
        }  # fmt: skip
        with WebSocket(self._connection, f"{self.path(name, project)}/logs", query) as socket:
            while (message := socket.receive()) is not None:
                yield understood(message, LogEntry)

    def artifacts(self, name: str, project: str = DEFAULT_PROJECT) -> list[ArtifactEntry]:
        """What its tasks left, on all nodes that can be asked."""
        return self.left(name, project).items

    def left(self, name: str, project: str = DEFAULT_PROJECT) -> ArtifactList:
        """The same, and which nodes could not be asked."""
        answer = self._connection.call("GET", f"{self.path(name, project)}/artifacts")
        return understood(answer.body, ArtifactList)

    def read_artifact(
        self, name: str, path: str, artifact: str, project: str = DEFAULT_PROJECT
    ) -> Iterator[bytes]:
        """A tar of one artifact of the task at `path`."""
        where = f"{self.path(name, project)}/artifacts/{quote(path, safe='')}/{quote(artifact)}"
        timeout = max(self._connection.timeout, STREAM_SILENCE)
        with (
            self._connection.open("GET", where, timeout=timeout) as exchange,
            self._connection.explained(),
        ):
            yield from exchange.pieces()

    def _pages(self, path: str, type: Any, query: Mapping[str, object]) -> Iterator[Any]:
        cursor = ""
        while True:
            asked = {**query, "limit": _PAGE, "cursor": cursor}
            page = understood(self._connection.call("GET", path, query=asked).body, Page[type])
            yield from page.items
            cursor = page.next
            if not cursor:
                return

    def _verb(self, name: str, verb: str, project: str, body: Mapping[str, Any]) -> RunDocument:
        answer = self._connection.call("POST", f"{self.path(name, project)}/{verb}", body=encode(body))
        return understood(answer.body, RunDocument)


def _change(message: Message) -> Change:
    if message.event == "run":
        return Change("run", run=understood(message.data, RunDocument))
    if message.event == "task":
        return Change("task", task=understood(message.data, TaskRunDocument))
    if message.event == "gone":
        return Change("gone", path=understood(message.data, dict)["path"])
    return Change(message.event)


class Circuits(Collection[CircuitDocument]):
    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, CIRCUIT)

    def open(self, name: str, project: str = DEFAULT_PROJECT, *, reason: str = "") -> CircuitDocument:
        """Whatever needs it waits, until `close` or `auto`."""
        return self._force(name, "open", project, reason)

    def close(self, name: str, project: str = DEFAULT_PROJECT, *, reason: str = "") -> CircuitDocument:
        """Whatever needs it tries, until `open` or `auto`."""
        return self._force(name, "close", project, reason)

    def auto(self, name: str, project: str = DEFAULT_PROJECT, *, reason: str = "") -> CircuitDocument:
        """It is left to itself again."""
        return self._force(name, "auto", project, reason)

    def _force(self, name: str, verb: str, project: str, reason: str) -> CircuitDocument:
        path = f"{self.path(name, project)}/{verb}"
        return self._document(self._connection.call("POST", path, body=encode({"reason": reason})).body)


class WorkQueue:
    """What of a project waits for a place or a limit; and the queues of concurrency keys, which can be paused."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self, project: str = DEFAULT_PROJECT, *, limit: int = 100) -> list[Waiting]:
        """Those who are next first."""
        answer = self._connection.call("GET", self._path(project), query={"limit": limit})
        return understood(answer.body, Page[Waiting]).items

    def pause(self, key: str = "", project: str = DEFAULT_PROJECT) -> QueueDocument:
        """Nothing of that concurrency key starts any more; of an empty one, nothing of the project."""
        return self._verb("pause", key, project)

    def resume(self, key: str = "", project: str = DEFAULT_PROJECT) -> QueueDocument:
        return self._verb("resume", key, project)

    def _verb(self, verb: str, key: str, project: str) -> QueueDocument:
        path = f"{self._path(project)}/{verb}"
        answer = self._connection.call("POST", path, body=encode({"key": key}))
        return understood(answer.body, QueueDocument)

    def _path(self, project: str) -> str:
        return f"/v1/projects/{quote(project, safe='')}/queue"
