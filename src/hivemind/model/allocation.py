"""The allocation: a replica of an app, or an attempt of a task, placed on one node. Its agreed states only ascend."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Literal

from hivemind.model.base import Document, Record
from hivemind.model.resource import Column, Resource


class AllocationState(IntEnum):
    """What the hive agreed about an allocation. The order is the law: a report never lowers it."""

    PENDING = 0
    """Wanted, but no node fits; `reason` says why."""
    PLACED = 1
    HEALTHY = 2
    """Its node reported it ready for `min_healthy_time`."""
    COMPLETE = 3
    """Ended by itself with exit code 0 and is not to be restarted."""
    FAILED = 4
    """Ended, and the restart policy is exhausted; or it could never start."""
    STOPPED = 5
    """Its node reported that nothing of it runs any more after it was told to stop."""
    LOST = 6
    """Its node is gone."""

    @property
    def ended(self) -> bool:
        return self >= AllocationState.COMPLETE


class Desired(StrEnum):
    RUN = "run"
    STOP = "stop"


class Allocation(Record, frozen=True, kw_only=True):
    """Its `id` is derived from app, revision, slot and attempt, or from run, path, attempt and rank, so that every
    node names it alike."""

    id: str
    project: str
    app: str = ""
    """Id of the app; empty for an attempt of a task."""
    app_name: str = ""
    revision: int = 0
    slot: int = 0
    """Which replica it is, from 0; of a gang, which member."""
    run: str = ""
    """Id of the run of a job whose task it is an attempt of; empty for replicas of apps."""
    path: str = ""
    """Of the task in that run."""
    started_at: int = 0
    """Milliseconds; of a task, when its node began it."""
    attempt: int
    """The fencing number: reports of an older attempt for the same slot are refused."""
    node: str = ""
    desired: Desired = Desired.RUN
    kill: bool = False
    """What shall stop: at once, without its grace period."""
    halted: Literal["", "canceled", "preempted", "lost"] = ""
    """Of a task that shall stop: what its ending counts as."""
    moving_to: str = ""
    """Id of the node on which its slot is to have another, so that it can go; see `state.rebalancing`."""
    makes_room_for: str = ""
    """Key of the task run for which it was preempted."""
    state: AllocationState = AllocationState.PENDING
    started: bool = False
    """Its node reported that it runs; only told where an app waits for just that."""
    failing: bool = False
    """Its node tries and tries but it does not get healthy; a deployment of its revision gives up."""
    reason: str = ""
    exit_code: int | None = None
    created: int = 0
    placed: int = 0
    updated: int = 0

    @property
    def for_job(self) -> bool:
        """An attempt of a task, not a replica of an app."""
        return bool(self.run)

    @property
    def live(self) -> bool:
        """It holds, or may hold, resources and names on its node."""
        return not self.state.ended


class Phase(StrEnum):
    """What a node observes of an allocation right now. Unlike the agreed state it goes to and fro."""

    WAITING = "waiting"
    PULLING = "pulling"
    STARTING = "starting"
    RUNNING = "running"
    BACKOFF = "backoff"
    STOPPING = "stopping"
    ENDED = "ended"


class Ending(Record, frozen=True, kw_only=True, omit_defaults=False):
    """How one container instance ended."""

    instance: int
    exit_code: int | None = None
    signal: int | None = None
    oom: bool = False
    reason: str = ""
    started: int = 0
    ended: int = 0


class CheckResult(Record, frozen=True, kw_only=True):
    """What one check or hook of a container found."""

    time: int
    """Milliseconds since 1970: when the answer was there."""
    check: Literal["check", "startup", "liveness", "readiness", "post-start", "pre-stop"]
    container: str = ""
    """Name of the companion; empty: the app's own."""
    instance: int = 0
    outcome: Literal["passed", "slow", "failed", "timeout"]
    """`slow`: passed, but it took more than half of the time it has."""
    latency: float = 0.0
    """Seconds."""
    output: str = ""


class ContainerStatus(Record, frozen=True, kw_only=True, omit_defaults=False):
    """A node's observation of one container of an allocation."""

    phase: Phase = Phase.WAITING
    ready: bool = False
    health: Literal["none", "starting", "passing", "failing"] = "none"
    instance: int = 0
    """Number of the container instance; rises with each restart."""
    restarts: int = 0
    image_digest: str = ""
    pid: int = 0
    started: int = 0
    settled: bool = False
    """Its post-start hook is done and its startup check has passed."""
    condemned: bool = False
    """It was told to stop because of its health."""
    message: str = ""
    last: Ending | None = None
    failures: int = 0
    """How often in a row it ended too soon or could not start."""
    resumes: int = 0
    """Milliseconds since 1970: it is not started again before that."""
    checks: tuple[CheckResult, ...] = ()
    """The latest of each kind, as of the last change; all the node remembers is at `…/checks`."""


class CompanionStatus(ContainerStatus, frozen=True, kw_only=True, omit_defaults=False):
    """The same of a companion."""

    name: str
    role: Literal["init", "sidecar"]


class AllocationStatus(ContainerStatus, frozen=True, kw_only=True, omit_defaults=False):
    """A node's observation of one allocation, kept in the shared store under `allocation/<id>`: of the app's own
    container, and of those beside it. `ready` speaks for all of them."""

    ip: str = ""
    ports: dict[str, int] = {}
    """`"80/tcp"` -> the port that answers at `ip` (differs from the declared one on shared networks)."""
    runtime: str = ""
    companions: tuple[CompanionStatus, ...] = ()
    boot: str = ""
    """Which start of its node's kernel this was seen in."""
    observed: int = 0


class AllocationDocument(Document, frozen=True, kw_only=True):
    kind: Literal["Allocation"] = "Allocation"
    project: str
    name: str
    """`<app>.<slot>`, for people; several attempts share it."""
    id: str
    app: str
    revision: int
    slot: int
    attempt: int
    node: str
    """Name of the node."""
    desired: str
    state: str
    image: str
    reason: str
    exit_code: int | None
    created: int
    status: AllocationStatus

    @property
    def shown(self) -> str:
        """The one word for tables: observed while it lives, agreed once it ended."""
        if self.state in ("placed", "healthy"):
            phase = str(self.status.phase)
            return "unhealthy" if phase == "running" and self.status.health == "failing" else phase
        return self.state


ALLOCATION = Resource(
    kind="Allocation",
    plural="allocations",
    short="alloc",
    scope="project",
    document=AllocationDocument,
    columns=(
        Column("ID", "id"),
        Column("NAME", "name"),
        Column("NODE", "node"),
        Column("STATUS", "shown"),
        Column("HEALTH", "status.health"),
        Column("REV", "revision"),
        Column("RESTARTS", "status.restarts"),
        Column("IP", "status.ip", wide=True),
        Column("AGE", "created", format="age"),
        Column("MESSAGE", "status.message", wide=True),
        Column("REASON", "reason", wide=True),
    ),
)
