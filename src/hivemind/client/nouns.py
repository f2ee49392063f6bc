"""What can be done with some kinds beyond list, get, put and delete."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from hivemind.client.collection import Collection, D
from hivemind.client.connection import Connection, understood
from hivemind.client.streams import lines
from hivemind.model.allocation import ALLOCATION, AllocationDocument, CheckResult
from hivemind.model.answers import (
    AllocationStats,
    AttachRequest,
    ChangeEntry,
    ChangeList,
    CheckList,
    ExecRequest,
    LogEntry,
    Page,
    Plan,
    PlanStep,
    ProcessEntry,
    ProcessList,
)
from hivemind.model.app import APP, AppDocument, AppManifest
from hivemind.model.base import encode
from hivemind.model.names import DEFAULT_PROJECT
from hivemind.model.node import NODE, NodeDocument
from hivemind.model.revision import RevisionDocument

if TYPE_CHECKING:
    from hivemind.client.exec import ExecSession
    from hivemind.client.websocket import WebSocket

_UNPACKING = 1800.0
"""Seconds that a node may be busy with an archive after it has all of it."""


class Apps(Collection[AppDocument]):
    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, APP)

    def deploy(
        self, manifest: AppManifest, project: str = DEFAULT_PROJECT, *, if_version: int | None = None
    ) -> AppDocument:
        """`put` under its own name. `status.deployment` of the answer is the deployment to wait for."""
        return self.put(manifest, project, if_version=if_version)

    def scale(self, name: str, replicas: int, project: str = DEFAULT_PROJECT) -> AppDocument:
        return self._verb(name, "scale", project, encode({"replicas": replicas}))

    def restart(self, name: str, project: str = DEFAULT_PROJECT) -> AppDocument:
        """Replaces every replica, one by one."""
        return self._verb(name, "restart", project)

    def stop(self, name: str, project: str = DEFAULT_PROJECT) -> AppDocument:
        return self._verb(name, "stop", project)

    def start(self, name: str, project: str = DEFAULT_PROJECT) -> AppDocument:
        return self._verb(name, "start", project)

    def rollback(self, name: str, project: str = DEFAULT_PROJECT, *, to: int = 0) -> AppDocument:
        """A new revision like revision `to`; 0: like the last good one that differs. Raises `Conflict` if none is."""
        return self._verb(name, "rollback", project, encode({"to": to}))

    def plan_rollback(
        self, name: str, project: str = DEFAULT_PROJECT, *, to: int = 0
    ) -> tuple[PlanStep, ...]:
        answer = self._connection.call(
            "POST",
            f"{self.path(name, project)}/rollback",
            query={"dry_run": "true"},
            body=encode({"to": to}),
        )
        return understood(answer.body, Plan).steps

    def pause(self, name: str, project: str = DEFAULT_PROJECT) -> AppDocument:
        """New revisions wait until `resume`."""
        return self._verb(name, "pause", project)

    def resume(self, name: str, project: str = DEFAULT_PROJECT) -> AppDocument:
        return self._verb(name, "resume", project)

    def revisions(self, name: str, project: str = DEFAULT_PROJECT) -> list[RevisionDocument]:
        """Those still kept, oldest first."""
        answer = self._connection.call("GET", f"{self.path(name, project)}/revisions")
        return understood(answer.body, Page[RevisionDocument]).items

    def logs(
        self,
        name: str,
        project: str = DEFAULT_PROJECT,
        *,
        tail: int | None = None,
        since: int = 0,
        until: int = 0,
        grep: str = "",
        previous: bool = False,
    ) -> Iterator[LogEntry]:
        """What all its replicas wrote, dead ones too, by time (nanoseconds since 1970; 0: no bound).

        `grep`: only lines in which this regular expression is found. `previous`: of the instances that ended last."""
        path = f"{self.path(name, project)}/logs"
        return _logs(self._connection, path, _asked(tail, since, until, grep, previous=previous))

    def logs_follow(
        self,
        name: str,
        project: str = DEFAULT_PROJECT,
        *,
        tail: int | None = None,
        since: int = 0,
        grep: str = "",
    ) -> Iterator[LogEntry]:
        """The same, then what comes, replicas that join later included, until the app is gone."""
        path = f"{self.path(name, project)}/logs"
        return _follow(self._connection, path, _asked(tail, since, 0, grep))

    def attach_next(
        self, name: str, project: str = DEFAULT_PROJECT, *, columns: int = 0, rows: int = 0
    ) -> ExecSession:
        """To the next container that it starts, before it starts: no output is missed. The app need not exist yet.
        Returns once the daemon waits for it."""
        from hivemind.client.exec import ExecSession

        request = AttachRequest(columns=columns, rows=rows)
        session = ExecSession(self._connection, f"{self.path(name, project)}/attach", request)
        try:
            session.read()
        except BaseException:
            session.close()
            raise
        return session

    def _verb(self, name: str, verb: str, project: str, body: bytes = b"{}") -> AppDocument:
        answer = self._connection.call("POST", f"{self.path(name, project)}/{verb}", body=body)
        return understood(answer.body, AppDocument)


class Contents(Collection[D]):
    """Configs or secrets: single keys can be changed."""

    def set(
        self,
        name: str,
        project: str = DEFAULT_PROJECT,
        *,
        data: Mapping[str, str] | None = None,
        binary: Mapping[str, bytes] | None = None,
        remove: Sequence[str] = (),
    ) -> D:
        """The other keys stay. Apps that use it get a new revision."""
        body = encode({"data": data or {}, "binary": binary or {}, "remove": remove})
        return self._document(
            self._connection.call("POST", f"{self.path(name, project)}/set", body=body).body
        )

    def plan_set(
        self,
        name: str,
        project: str = DEFAULT_PROJECT,
        *,
        data: Mapping[str, str] | None = None,
        binary: Mapping[str, bytes] | None = None,
        remove: Sequence[str] = (),
    ) -> tuple[PlanStep, ...]:
        """What `set` would make the hive do."""
        body = encode({"data": data or {}, "binary": binary or {}, "remove": remove})
        path = f"{self.path(name, project)}/set"
        answer = self._connection.call("POST", path, query={"dry_run": "true"}, body=body)
        return understood(answer.body, Plan).steps


class Allocations(Collection[AllocationDocument]):
    """Allocations answer to an id, an unambiguous beginning of one, or `<app>.<slot>`."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, ALLOCATION)

    def logs(
        self,
        id: str,
        project: str = DEFAULT_PROJECT,
        *,
        tail: int | None = None,
        since: int = 0,
        until: int = 0,
        grep: str = "",
        previous: bool = False,
        container: str = "",
    ) -> Iterator[LogEntry]:
        """As of an app; `container`: of a companion."""
        path = f"{self.path(id, project)}/logs"
        return _logs(
            self._connection, path, _asked(tail, since, until, grep, previous=previous, container=container)
        )

    def logs_follow(
        self,
        id: str,
        project: str = DEFAULT_PROJECT,
        *,
        tail: int | None = None,
        since: int = 0,
        grep: str = "",
        container: str = "",
    ) -> Iterator[LogEntry]:
        """Ends when the allocation has ended and all was read."""
        path = f"{self.path(id, project)}/logs"
        return _follow(self._connection, path, _asked(tail, since, 0, grep, container=container))

    def stats(self, id: str, project: str = DEFAULT_PROJECT, *, container: str = "") -> AllocationStats:
        """`container` here and below: a companion's name, or the app's own container."""
        path = f"{self.path(id, project)}/stats"
        answer = self._connection.call("GET", path, query={"container": container})
        return understood(answer.body, AllocationStats)

    def checks(self, id: str, project: str = DEFAULT_PROJECT) -> list[CheckResult]:
        """What its checks and hooks found last, oldest first."""
        answer = self._connection.call("GET", f"{self.path(id, project)}/checks")
        return understood(answer.body, CheckList).items

    def processes(
        self, id: str, project: str = DEFAULT_PROJECT, *, container: str = ""
    ) -> list[ProcessEntry]:
        """Raises `Conflict` when it does not run."""
        path = f"{self.path(id, project)}/processes"
        answer = self._connection.call("GET", path, query={"container": container})
        return understood(answer.body, ProcessList).items

    def changes(self, id: str, project: str = DEFAULT_PROJECT, *, container: str = "") -> list[ChangeEntry]:
        """How its files differ from its image. Raises `Unsupported` where the runtime cannot tell."""
        path = f"{self.path(id, project)}/changes"
        answer = self._connection.call("GET", path, query={"container": container})
        return understood(answer.body, ChangeList).items

    def read_files(
        self, id: str, path: str, project: str = DEFAULT_PROJECT, *, container: str = ""
    ) -> Iterator[bytes]:
        """A tar of that file, directory or link; its first name is the last part of `path`."""
        asked = {"path": path, "container": container}
        path = f"{self.path(id, project)}/files"
        with self._connection.open("GET", path, query=asked) as exchange, self._connection.explained():
            yield from exchange.pieces()

    def write_files(
        self,
        id: str,
        path: str,
        chunks: Iterable[bytes],
        project: str = DEFAULT_PROJECT,
        *,
        container: str = "",
    ) -> None:
        """Unpacks a tar into the directory `path`, which must exist."""
        self._connection.call(
            "PUT",
            f"{self.path(id, project)}/files",
            query={"path": path, "container": container},
            body=iter(chunks),
            headers={"Content-Type": "application/x-tar"},
            timeout=_UNPACKING,
        )

    def attach(
        self,
        id: str,
        project: str = DEFAULT_PROJECT,
        *,
        container: str = "",
        columns: int = 0,
        rows: int = 0,
    ) -> ExecSession:
        """To its main process. `columns` and `rows`: the size its terminal shall have, 0 to leave it."""
        from hivemind.client.exec import ExecSession

        return ExecSession(
            self._connection,
            f"{self.path(id, project)}/attach",
            AttachRequest(columns=columns, rows=rows),
            {"container": container},
        )

    def forward(self, id: str, port: int, project: str = DEFAULT_PROJECT) -> WebSocket:
        """One connection to a port of it. Each message begins with a channel, see `ExecChannel`: 0 to it, 1 from it,
        4 and 6 the end of each, 5 a problem."""
        from hivemind.client.websocket import WebSocket

        return WebSocket(self._connection, f"{self.path(id, project)}/forward", {"port": port})

    def exec(
        self,
        id: str,
        args: Sequence[str],
        project: str = DEFAULT_PROJECT,
        *,
        env: Mapping[str, str] | None = None,
        user: str = "",
        workdir: str = "",
        tty: bool = False,
        stdin: bool = False,
        columns: int = 80,
        rows: int = 24,
        container: str = "",
    ) -> ExecSession:
        """Runs a command inside. Raises `NotFound`, or `Conflict` when the allocation does not run."""
        from hivemind.client.exec import ExecSession

        request = ExecRequest(
            args=tuple(args),
            env=dict(env or {}),
            user=user,
            workdir=workdir,
            tty=tty,
            stdin=stdin,
            columns=columns,
            rows=rows,
        )
        return ExecSession(
            self._connection, f"{self.path(id, project)}/exec", request, {"container": container}
        )


class Nodes(Collection[NodeDocument]):
    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, NODE)

    def cordon(self, name: str) -> NodeDocument:
        """Nothing new is placed there."""
        return self._verb(name, "cordon")

    def uncordon(self, name: str) -> NodeDocument:
        return self._verb(name, "uncordon")

    def drain(self, name: str, *, deadline: float = 0.0, force: bool = False) -> NodeDocument:
        """Cordoned, and what runs there is moved or stopped; what is left after `deadline` seconds, hard."""
        return self._verb(name, "drain", encode({"deadline": deadline, "force": force}))

    def remove(self, name: str, *, force: bool = False) -> NodeDocument:
        """It leaves the hive once it is empty and others decide in its place; by force, at once."""
        return self._verb(name, "remove", encode({"force": force}))

    def _verb(self, name: str, verb: str, body: bytes = b"{}") -> NodeDocument:
        return understood(
            self._connection.call("POST", f"{self.path(name)}/{verb}", body=body).body, NodeDocument
        )


def _asked(
    tail: int | None, since: int, until: int, grep: str, *, previous: bool = False, container: str = ""
) -> dict[str, object]:
    return {
        "tail": tail,
        "since": since or None,
        "until": until or None,
        "grep": grep or None,
        "previous": "true" if previous else None,
        "container": container or None,
    }


def _logs(connection: Connection, path: str, query: Mapping[str, object]) -> Iterator[LogEntry]:
    for line in lines(connection, "GET", path, query=query):
        yield understood(line, LogEntry)


def _follow(connection: Connection, path: str, query: Mapping[str, object]) -> Iterator[LogEntry]:
    from hivemind.client.websocket import WebSocket

    with WebSocket(connection, path, query) as socket:
        while (message := socket.receive()) is not None:
            yield understood(message, LogEntry)
