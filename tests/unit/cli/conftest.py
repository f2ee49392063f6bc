"""A hive in memory that answers like the client, and a way to run one command line against it."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from hivemind.cli import context as context_module
from hivemind.cli.main import main
from hivemind.cli.terminal import Terminal
from hivemind.errors import Conflict, NotFound
from hivemind.model.allocation import AllocationDocument, AllocationStatus, Ending, Phase
from hivemind.model.answers import Info, LogEntry, PlanStep
from hivemind.model.app import AppDocument, AppManifest, AppStatus
from hivemind.model.deployment import DeploymentDocument
from hivemind.model.event import Event
from hivemind.model.image import ImageDocument
from hivemind.model.node import NodeDocument, NodeStatus
from hivemind.model.principal import PrincipalDocument, PrincipalManifest
from hivemind.model.project import ProjectDocument


class Bell:
    """Events that wake whoever follows them."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._changed = threading.Condition()

    def ring(self, type: str, app: str = "", message: str = "") -> None:
        with self._changed:
            number = len(self.events) + 1
            event = Event(
                id=f"{number:020}", time=number * 1000, type=type, app=app, name=app, message=message
            )
            self.events.append(event)
            self._changed.notify_all()

    def follow(self, start: int) -> Iterator[Event]:
        while True:
            with self._changed:
                while len(self.events) <= start:
                    self._changed.wait()
                event = self.events[start]
            start += 1
            yield event


class FakeHive:
    """`later` holds what the hive does by and by: one step after each look at an app."""

    endpoint = "unix:///fake.sock"

    def __init__(self) -> None:
        self.bell = Bell()
        self.documents: dict[tuple[str, str], AppDocument] = {}
        self.replicas: list[AllocationDocument] = []
        self.finished: dict[str, DeploymentDocument] = {}
        self.entries: list[LogEntry] = []
        self.later: list[Callable[[], None]] = []
        self.calls: list[tuple[Any, ...]] = []
        self.apps = FakeApps(self)
        self.allocations = FakeAllocations(self)
        self.deployments = FakeDeployments(self)
        self.nodes = FakeList([node()])
        self.projects = FakeList(
            [
                ProjectDocument(
                    name="default",
                    labels={},
                    permissions=(),
                    weight=1,
                    max_tasks=0,
                    version=1,
                    apps=0,
                    created=1,
                )
            ]
        )
        self.principals = FakePrincipals()
        self.images = FakeList([image()])
        self.runs = FakeList([])

    def collection(self, resource: Any) -> Any:
        return getattr(self, resource.plural)

    def events(
        self, *, app: str = "", allocation: str = "", limit: int | None = None, **_: str
    ) -> list[Event]:
        found = [e for e in self.bell.events if app in ("", e.app) and allocation in ("", e.allocation)]
        return found[-limit:] if limit else found

    def events_follow(self, **_: Any) -> Iterator[Event]:
        return self.bell.follow(len(self.bell.events))

    def status(self) -> Info:
        return Info(version="9.9", hive="h" * 20, node="n" * 64, node_name="node-1", runtime="fake", network="none",
                    started=1, sequence=1, digest="d")  # fmt: skip

    def close(self) -> None:
        self.calls.append(("close",))

    def step(self) -> None:
        if self.later:
            self.later.pop(0)()

    # -- what tests say happens --------------------------------------------------------------------------------

    def settle(self, name: str) -> None:
        """All replicas of the app run, and its deployment succeeded."""
        app = self.documents["default", name]
        self.replicas = [a for a in self.replicas if a.app != name] + [
            replica(name, slot, revision=app.status.revision) for slot in range(app.replicas)
        ]
        ready = app.replicas
        status = msgspec.structs.replace(
            app.status, phase="running", ready=ready, running=ready, desired=ready
        )
        self.documents["default", name] = msgspec.structs.replace(app, status=status)
        for id, deployment in self.finished.items():
            if deployment.app == name:
                self.finished[id] = msgspec.structs.replace(deployment, state="succeeded")
        self.bell.ring("app.deployment-succeeded", name)

    def fail(self, name: str, reason: str) -> None:
        app = self.documents["default", name]
        self.replicas = [replica(name, 0, revision=app.status.revision, state="failed", exit_code=3)]
        for id, deployment in self.finished.items():
            self.finished[id] = msgspec.structs.replace(deployment, state="failed", reason=reason)
        self.bell.ring("app.deployment-failed", name)


class FakeApps:
    def __init__(self, hive: FakeHive) -> None:
        self.hive = hive

    def get(self, name: str, project: str = "default") -> AppDocument:
        self.hive.step()
        try:
            return self.hive.documents[project, name]
        except KeyError:
            raise NotFound(f"there is no app {name!r}") from None

    def list(self, project: str | None = "default", **_: Any) -> list[AppDocument]:
        return [d for (home, _), d in sorted(self.hive.documents.items()) if project in (None, home)]

    def plan(self, manifest: AppManifest, project: str) -> tuple[PlanStep, ...]:
        return (PlanStep(action="start", object=f"{manifest.name}.0", node="node-1", detail="revision 1"),)

    def plan_delete(self, name: str, project: str) -> tuple[PlanStep, ...]:
        return (PlanStep(action="stop", object=f"{name}.0"),)

    def put(self, manifest: AppManifest, project: str, *, if_version: int | None = None) -> AppDocument:
        self.hive.calls.append(("put", manifest, project, if_version))
        before = self.hive.documents.get((project, manifest.name))
        revision = before.status.revision + (before.spec != manifest.spec) if before else 1
        changed = before is None or (before.spec, before.replicas) != (manifest.spec, manifest.replicas)
        deployment = (
            f"d{revision}" if before is None or before.spec != manifest.spec else before.status.deployment
        )
        self.hive.finished.setdefault(deployment, _deployment(deployment, manifest.name, revision))
        made = document(manifest, project, revision, (before.version if before else 0) + changed, deployment)
        self.hive.documents[project, manifest.name] = made
        return made

    deploy = put

    def create(self, manifest: AppManifest, project: str) -> AppDocument:
        if (project, manifest.name) in self.hive.documents:
            raise Conflict(f"there is already an app {manifest.name!r}")
        return self.put(manifest, project)

    def scale(self, name: str, replicas: int, project: str) -> AppDocument:
        self.hive.calls.append(("scale", name, replicas, project))
        app = self.get(name, project)
        status = msgspec.structs.replace(app.status, desired=replicas)
        self.hive.documents[project, name] = msgspec.structs.replace(app, replicas=replicas, status=status)
        return self.hive.documents[project, name]

    def stop(self, name: str, project: str) -> AppDocument:
        self.hive.calls.append(("stop", name))
        app = self.get(name, project)
        self.hive.replicas = []
        status = msgspec.structs.replace(app.status, phase="stopped")
        self.hive.documents[project, name] = msgspec.structs.replace(app, status=status)
        return app

    def delete(self, name: str, project: str) -> None:
        self.hive.calls.append(("delete", name))
        self.get(name, project)
        del self.hive.documents[project, name]
        self.hive.replicas = []

    def logs(self, name: str, project: str, **query: Any) -> Iterator[LogEntry]:
        self.hive.calls.append(("logs", name, query))
        return iter(self.hive.entries)


class FakeAllocations:
    def __init__(self, hive: FakeHive) -> None:
        self.hive = hive

    def list(self, project: str | None = "default", *, app: str = "", **_: Any) -> list[AllocationDocument]:
        return [a for a in self.hive.replicas if app in ("", a.app)]

    def get(self, id: str, project: str = "default") -> AllocationDocument:
        for allocation in self.hive.replicas:
            if allocation.name == id or allocation.id.startswith(id):
                return allocation
        raise NotFound(f"there is no allocation {id!r}")

    def logs(self, id: str, project: str, **query: Any) -> Iterator[LogEntry]:
        return iter(self.hive.entries)

    logs_follow = logs


class FakeDeployments:
    def __init__(self, hive: FakeHive) -> None:
        self.hive = hive

    def get(self, id: str, project: str) -> DeploymentDocument:
        return self.hive.finished[id]

    def list(self, project: str, **_: Any) -> list[DeploymentDocument]:
        return list(self.hive.finished.values())


class FakeList:
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def list(self, *_: Any, **__: Any) -> list[Any]:
        return self.items

    def get(self, name: str, *_: Any) -> Any:
        for item in self.items:
            if item.name == name:
                return item
        raise NotFound(f"there is no {name!r}")


class FakePrincipals(FakeList):
    """The hive's own administrator and a node are there already."""

    def __init__(self) -> None:
        super().__init__(
            [self._of("admin", "admin", "a0" * 32), self._of("node-1", "viewer", "ab" * 32, "node")]
        )

    def _of(self, name: str, role: str, key: str, type: Any = "person") -> PrincipalDocument:
        return PrincipalDocument(name=name, type=type, role=role, key=key, version=1, created=1)

    def create(self, manifest: PrincipalManifest) -> PrincipalDocument:
        if any(item.name == manifest.name for item in self.items):
            raise Conflict(f"there is already a principal {manifest.name!r}")
        self.items.append(self._of(manifest.name, manifest.role, manifest.key))
        return self.items[-1]

    def delete(self, name: str) -> None:
        self.items.remove(self.get(name))


def document(
    manifest: AppManifest,
    project: str = "default",
    revision: int = 1,
    version: int = 1,
    deployment: str = "d1",
) -> AppDocument:
    status = AppStatus(phase="deploying", ready=0, running=0, desired=manifest.replicas, revision=revision,
                       deployment=deployment)  # fmt: skip
    return AppDocument(project=project, name=manifest.name, id=f"id-{manifest.name}", labels=manifest.labels,
                       version=version, created=1, updated=1, replicas=manifest.replicas, spec=manifest.spec,
                       status=status)  # fmt: skip


def replica(
    app: str, slot: int, *, revision: int = 1, state: str = "healthy", exit_code: int | None = None
) -> AllocationDocument:
    last = Ending(instance=1, exit_code=exit_code, ended=1) if exit_code is not None else None
    up = state == "healthy"
    status = AllocationStatus(
        phase=Phase.RUNNING if up else Phase.ENDED, ready=up, started=1, last=last, ip="10.0.0.1"
    )
    return AllocationDocument(project="default", name=f"{app}.{slot}", id=f"{slot}abc{app}", app=app, revision=revision,
                              slot=slot, attempt=1, node="node-1", desired="run", state=state, image="nginx:latest",
                              reason="", exit_code=exit_code, created=1, status=status)  # fmt: skip


def _deployment(id: str, app: str, target: int) -> DeploymentDocument:
    return DeploymentDocument(project="default", name=id, id=id, app=app, source=target - 1, target=target,
                              cause="deploy", done=0, total=1, state="running", reason="", by="admin",
                              started=1, ended=0)  # fmt: skip


def node() -> NodeDocument:
    return NodeDocument(name="node-1", id="ab" * 32, labels={}, schedulable=True, drained=False, version=1, cpus=2,
                        memory=2**30, cpus_reserved=0, memory_reserved=0, allocations=0, os="linux", arch="amd64",
                        runtimes=("oci", "process"), joined=1, status=NodeStatus())  # fmt: skip


def image() -> ImageDocument:
    return ImageDocument(name="nginx:latest", id="sha256:" + "12" * 32, names=("docker.io/library/nginx:latest",),
                         size=2**20, os="linux", arch="amd64", created=1, in_use=0)  # fmt: skip


def entry(text: str, slot: int = 0, stream: str = "stdout") -> LogEntry:
    return LogEntry(time=1_500_000_000, stream=stream, text=text, allocation=f"{slot}abc", slot=slot)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def hive(monkeypatch: pytest.MonkeyPatch) -> FakeHive:
    fake = FakeHive()
    monkeypatch.setattr(context_module.Context, "hive", property(lambda self: fake))
    for name in ("HIVEMIND_HOST", "HIVEMIND_TOKEN", "HIVEMIND_PROJECT", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return fake


@pytest.fixture
def run() -> Run:
    def run(*words: str) -> Result:
        out, err = io.StringIO(), io.StringIO()
        code = main(list(words), Terminal(out, err))
        return Result(code, out.getvalue(), err.getvalue())

    return run
