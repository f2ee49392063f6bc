"""The app: a long-lived service, its revisions and the deployments between them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from msgspec import Meta

from hivemind.errors import Invalid
from hivemind.model.base import Document, Record, Spec
from hivemind.model.check import Check, CommandProbe
from hivemind.model.names import Name, ServiceName
from hivemind.model.quantity import Bytes, Cores, Seconds
from hivemind.model.resource import Column, Resource

PortNumber = Annotated[int, Meta(ge=1, le=65535)]
EnvName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*\Z",
        description="the name of a variable: letters, digits and _, not beginning with a digit",
    ),
]


class Port(Spec, frozen=True, kw_only=True):
    """A port the container listens on; with `host`, also published on every node."""

    container: PortNumber
    host: PortNumber | None = None
    protocol: Literal["tcp", "udp"] = "tcp"


class Resources(Spec, frozen=True, kw_only=True):
    """`cpus` and `memory` are both what is set aside on the node and the limit of the container.

    Zero means no limit, and nothing is set aside."""

    cpus: Cores = 0.0
    memory: Bytes = 0
    pids: Annotated[int, Meta(ge=0, le=4_194_304)] = 0


class Restart(Spec, frozen=True, kw_only=True):
    """What happens when the main process of a replica ends."""

    policy: Literal["always", "on-failure", "no"] = "always"
    retries: Annotated[int, Meta(ge=0, le=10**6)] = 0
    """For `on-failure`: how often at most; 0 is without end."""


class Stop(Spec, frozen=True, kw_only=True):
    signal: (
        Annotated[str, Meta(pattern=r"^(SIG)?[A-Z0-9+]+\Z", description="a signal such as SIGTERM")] | None
    ) = None
    """The image's own stop signal, else SIGTERM, when absent."""
    grace: Seconds = 10.0


class Update(Spec, frozen=True, kw_only=True):
    """How one revision replaces another."""

    order: Literal["start-first", "stop-first"] = "start-first"
    max_parallel: Annotated[int, Meta(ge=1, le=1000)] = 1
    min_healthy_time: Seconds = 1.0
    """A replica counts once it has been ready this long without a break."""
    healthy_deadline: Seconds = 300.0
    """A replica that is not healthy this long after it was placed fails the deployment."""


class AppSpec(Spec, frozen=True, kw_only=True):
    """The immutable part of an app: what one replica is. A change of it makes a new revision."""

    image: Annotated[str, Meta(max_length=512)] = ""
    """Empty only for plain commands on the `process` runtime."""
    runtime: Literal["auto", "oci", "process", "fake"] = "auto"
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    env: dict[EnvName, str] = {}
    user: str | None = None
    workdir: Annotated[str, Meta(pattern="^/", description="an absolute path")] | None = None
    service: ServiceName | None = None
    ports: tuple[Port, ...] = ()
    resources: Resources = Resources()
    check: Check | None = None
    restart: Restart = Restart()
    stop: Stop = Stop()
    constraints: tuple[str, ...] = ()
    placement: Literal["spread", "binpack"] = "spread"
    update: Update = Update()
    priority: Annotated[int, Meta(ge=0, le=100)] = 50

    def validate(self) -> None:
        """What the types alone cannot say. Raises `Invalid`."""
        if not self.image and not (self.command or self.entrypoint):
            raise Invalid(
                "an app needs an image or a command", hint="give --image, or --command with --runtime process"
            )
        if not self.image and self.runtime not in ("process", "fake"):
            raise Invalid(
                "only the process runtime runs without an image", hint="give --image, or --runtime process"
            )
        for protocol in ("tcp", "udp"):
            hosts = [p.host for p in self.ports if p.host and p.protocol == protocol]
            if len(hosts) != len(set(hosts)):
                raise Invalid(
                    "the same host port is published twice", hint="give each --port its own host port"
                )
        if len({(p.container, p.protocol) for p in self.ports}) != len(self.ports):
            raise Invalid("the same container port is listed twice")
        probe = self.check.probe if self.check else None
        if (
            probe
            and not isinstance(probe, CommandProbe)
            and not probe.port
            and not any(p.protocol == "tcp" for p in self.ports)
        ):
            raise Invalid(
                "the health check names no port and the app declares none", hint="add a port to the check"
            )


class App(Record, frozen=True, kw_only=True):
    """What the hive agreed about an app. The spec of each revision stands in its own `Revision`."""

    id: str
    project: str
    name: str
    labels: dict[str, str] = {}
    replicas: int = 1
    revision: int = 1
    """The revision that shall run."""
    latest: int = 1
    """The highest revision number ever used."""
    stable: int = 0
    """The last revision whose deployment succeeded; 0 before the first."""
    stopped: bool = False
    deleted: bool = False
    """Its name is free again; the record stays until nothing of it runs any more."""
    serial: int = 0
    """The highest attempt number ever given to one of its allocations."""
    version: int = 1
    """Counts every change that a person made: the ETag."""
    created: int = 0
    updated: int = 0


class Revision(Record, frozen=True, kw_only=True):
    """One immutable spec of an app."""

    app: str
    number: int
    spec: AppSpec
    cause: Literal["deploy", "restart"] = "deploy"
    created: int = 0
    by: str = ""


class DeploymentState(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SUPERSEDED = "superseded"


class Deployment(Record, frozen=True, kw_only=True):
    """One change of an app from revision `source` (0: none) to revision `target`."""

    id: str
    project: str
    app: str
    app_name: str
    source: int
    target: int
    state: DeploymentState = DeploymentState.RUNNING
    reason: str = ""
    started: int = 0
    ended: int = 0


class AppManifest(Spec, frozen=True, kw_only=True):
    """What a person writes to the API or into `app.yaml`."""

    name: Name
    replicas: Annotated[int, Meta(ge=0, le=10_000)] = 1
    labels: dict[str, str] = {}
    spec: AppSpec


class AppStatus(Document, frozen=True, kw_only=True):
    phase: Literal["running", "deploying", "degraded", "pending", "failing", "stopped", "completed"]
    ready: int
    running: int
    desired: int
    restarts: int = 0
    revision: int = 1
    stable: int = 0
    deployment: str = ""
    ports: tuple[str, ...] = ()
    message: str = ""
    """The one thing to know now: why something is not placed, why a deployment failed."""


class AppDocument(Document, frozen=True, kw_only=True):
    kind: Literal["App"] = "App"
    project: str
    name: str
    id: str
    labels: dict[str, str]
    version: int
    created: int
    updated: int
    replicas: int
    spec: AppSpec
    status: AppStatus

    @property
    def ready(self) -> str:
        return f"{self.status.ready}/{self.status.desired}"


class DeploymentDocument(Document, frozen=True, kw_only=True):
    kind: Literal["Deployment"] = "Deployment"
    project: str
    name: str
    """The same as the id."""
    id: str
    app: str
    source: int
    target: int
    state: str
    reason: str
    by: str
    """Who wished for it: a principal's name."""
    started: int
    ended: int


APP = Resource(
    kind="App",
    plural="apps",
    short="a",
    scope="project",
    document=AppDocument,
    manifest=AppManifest,
    deletable=True,
    columns=(
        Column("NAME", "name"),
        Column("READY", "ready"),
        Column("STATUS", "status.phase"),
        Column("IMAGE", "spec.image"),
        Column("SERVICE", "spec.service"),
        Column("PORTS", "status.ports", format="list"),
        Column("REV", "status.revision", wide=True),
        Column("RESTARTS", "status.restarts", wide=True),
        Column("AGE", "created", format="age"),
        Column("MESSAGE", "status.message", wide=True),
    ),
)

DEPLOYMENT = Resource(
    kind="Deployment",
    plural="deployments",
    short="dep",
    scope="project",
    document=DeploymentDocument,
    columns=(
        Column("ID", "id"),
        Column("APP", "app"),
        Column("FROM", "source"),
        Column("TO", "target"),
        Column("STATE", "state"),
        Column("BY", "by"),
        Column("AGE", "started", format="age"),
        Column("REASON", "reason"),
    ),
)
