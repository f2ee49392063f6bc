"""The app: a long-lived service."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from hivemind.errors import Invalid
from hivemind.model.base import Document, Record, Spec
from hivemind.model.check import CommandProbe, Probe
from hivemind.model.isolation import check_isolation
from hivemind.model.mount import VolumeMount
from hivemind.model.names import Name, ServiceName
from hivemind.model.network import NetworkOptions, Port
from hivemind.model.quantity import Seconds
from hivemind.model.resource import Column, Resource
from hivemind.model.template import ContainerTemplate, Resources, check_template

RuntimeName = Literal["auto", "oci", "containerd", "docker", "process", "fake"]


class Restart(Spec, frozen=True, kw_only=True):
    """What happens when the main process of a replica ends."""

    policy: Literal["always", "on-failure", "no"] = "always"
    retries: Annotated[int, Meta(ge=0, le=10**6)] = 0
    """For `on-failure`: how often at most; 0 is without end."""


class Update(Spec, frozen=True, kw_only=True):
    """How one revision replaces another."""

    order: Literal["auto", "start-first", "stop-first"] = "auto"
    """`auto` is stop-first for apps that write to a named volume, which two revisions must not share, and for those
    that listen in the node's own network; start-first for all others."""
    max_parallel: Annotated[int, Meta(ge=1, le=1000)] = 1
    """Replicas in change at the same time."""
    max_surge: Annotated[int, Meta(ge=0, le=1000)] | None = None
    """Start-first: how many may run beyond `replicas`; `max_parallel` when absent, and 0 is stop-first."""
    min_healthy_time: Seconds = 1.0
    """A replica counts once it has been ready this long without a break."""
    healthy_deadline: Seconds = 300.0
    """A replica that is not healthy this long after it was placed fails the deployment."""
    progress_deadline: Seconds = 600.0
    """A deployment in which no further replica got healthy for this long fails; 0: it may take for ever."""
    auto_rollback: bool = True
    """A failed deployment takes the app back to its last good revision; otherwise it stays as it is."""


Condition = Literal["started", "healthy", "completed"]


CompanionName = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9]+(-[a-z0-9]+)*\Z",
        max_length=40,
        description="lower-case letters, digits and single dashes between them; at most 40",
    ),
]
"""It becomes part of its containers' ids, which not every runtime takes in any length."""


class Companion(ContainerTemplate, frozen=True, kw_only=True):
    """A container beside the app's own: same network, volumes by the same names, a file system of its own."""

    name: CompanionName


class AppSpec(ContainerTemplate, frozen=True, kw_only=True):
    """The immutable part of an app: what one replica is. A change of it makes a new revision."""

    runtime: RuntimeName = "auto"
    service: ServiceName | None = None
    ports: tuple[Port, ...] = ()
    network: NetworkOptions = NetworkOptions()
    init_containers: tuple[Companion, ...] = ()
    """Run one after the other, each to its end, before the app's own container starts."""
    sidecars: tuple[Companion, ...] = ()
    """Started in this order before the app's own container, each after the one before is ready; stopped after it."""
    depends_on: dict[Name, Condition] = {}
    """No replica starts before these apps of its project are started, healthy or completed."""
    restart: Restart = Restart()
    constraints: tuple[str, ...] = ()
    placement: Literal["spread", "binpack"] = "spread"
    update: Update = Update()
    on_change: Literal["roll", "ignore"] = "roll"
    """What happens when a config or secret that it uses changes."""
    on_partition: Literal["keep", "stop"] = "keep"
    """What its replicas do on a node that is cut off from those that decide, while the hive may start others elsewhere:
    go on, so that somebody is served; or stop, so that never two of one slot run."""
    priority: Annotated[int, Meta(ge=0, le=100)] = 50

    @property
    def order(self) -> Literal["start-first", "stop-first"]:
        """How it is updated, with `auto` decided."""
        if self.update.order != "auto":
            return self.update.order
        if self.update.max_surge == 0 or (self.network.mode == "host" and self.ports):
            return "stop-first"
        return "stop-first" if any(_writes(template) for template in self.templates) else "start-first"

    @property
    def templates(self) -> tuple[ContainerTemplate, ...]:
        """Its own container and all companions."""
        return (self, *self.init_containers, *self.sidecars)

    @property
    def node_ports(self) -> tuple[str, ...]:
        """`"8080/tcp"`: what it takes of the ports of the nodes. In the node's own network that is every one it has."""
        direct = self.network.mode == "host"
        taken = {
            f"{port.container if direct else port.host}/{port.protocol}"
            for port in self.ports
            if direct or port.host
        }
        return tuple(sorted(taken))

    @property
    def reserved(self) -> Resources:
        """What one replica sets aside on its node: the app's container and its sidecars run together; the init
        containers run before them, one at a time."""
        if not (self.init_containers or self.sidecars):
            return self.resources
        together = [self.resources, *(companion.resources for companion in self.sidecars)]
        before = [companion.resources for companion in self.init_containers]
        return Resources(
            cpus=max([round(sum(r.cpus for r in together), 6), *(r.cpus for r in before)]),
            memory=max([sum(r.memory for r in together), *(r.memory for r in before)]),
            gpus=max([sum(r.gpus for r in together), *(r.gpus for r in before)]),
        )

    def validate(self) -> None:
        """What the types alone cannot say. Raises `Invalid`."""
        for template in self.templates:
            check_template(template, self.runtime)
        names = [companion.name for companion in (*self.init_containers, *self.sidecars)]
        for name in names:
            if names.count(name) > 1:
                raise Invalid(f"two companions are called {name!r}", hint="give each a name of its own")
        if self.update.order == "start-first" and self.update.max_surge == 0:
            raise Invalid(
                "start-first needs room for at least one more replica",
                hint="give a surge of 1, or stop-first",
            )
        for protocol in ("tcp", "udp"):
            hosts = [p.host for p in self.ports if p.host and p.protocol == protocol]
            if len(hosts) != len(set(hosts)):
                raise Invalid(
                    "the same host port is published twice", hint="give each --port its own host port"
                )
        if len({(p.container, p.protocol) for p in self.ports}) != len(self.ports):
            raise Invalid("the same container port is listed twice")
        self._check_network()
        for template in self.templates:
            check_isolation(template.isolation, own_network=self.network.mode != "host")
            for check in (template.check, template.startup, template.liveness, template.readiness):
                self._check_port(check.probe if check else None)
            for hook in (template.post_start, template.pre_stop):
                self._check_port(hook.action if hook else None)
        for companion in self.init_containers:
            if companion.check or companion.startup or companion.liveness or companion.readiness:
                raise Invalid(
                    f"init container {companion.name} runs to its end, so nothing checks it",
                    hint="take its checks away, or make it a sidecar",
                )
            if companion.post_start or companion.pre_stop:
                raise Invalid(
                    f"init container {companion.name} runs to its end, so it has no hooks",
                    hint="let its command do that, or make it a sidecar",
                )

    def _check_network(self) -> None:
        mode = self.network.mode
        if mode == "none" and (self.ports or self.service):
            raise Invalid(
                "an app without a network has no ports and no name",
                hint="leave out --port and --service, or --network none",
            )
        if mode == "none" and "host-gateway" in self.network.extra_hosts.values():
            raise Invalid("without a network the node cannot be reached", hint="leave out host-gateway")
        for port in self.ports if mode == "host" else ():
            if port.host not in (None, port.container):
                raise Invalid(
                    f"in the node's own network port {port.container} cannot be published as {port.host}",
                    hint=f"write --port {port.container}, and let the program listen where it shall be reached",
                )

    def _check_port(self, probe: Probe | None) -> None:
        if probe and not isinstance(probe, CommandProbe) and self.network.mode == "none":
            raise Invalid("an app without a network is checked by a command only", hint="give --health-cmd")
        if (
            probe
            and not isinstance(probe, CommandProbe)
            and not probe.port
            and not any(p.protocol == "tcp" for p in self.ports)
        ):
            raise Invalid(
                "the health check names no port and the app declares none", hint="add a port to the check"
            )


def _writes(template: ContainerTemplate) -> bool:
    return any(isinstance(mount, VolumeMount) and not mount.readonly for mount in template.mounts)


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
    paused: bool = False
    """New revisions wait; what runs is kept running."""
    deleted: bool = False
    """Its name is free again; the record stays until nothing of it runs any more."""
    serial: int = 0
    """The highest attempt number ever given to one of its allocations."""
    version: int = 1
    """Counts every change that a person made: the ETag."""
    created: int = 0
    updated: int = 0


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
    paused: bool = False
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
