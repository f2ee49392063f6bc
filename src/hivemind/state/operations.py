"""Operations: the wishes and reports that the hive agrees on, one struct each.

An operation says what, never how; its meaning is in `state.apply`. Everything here is a value that travels
signed (see `security.envelope`), so fields are only ever added, with defaults.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from hivemind.model.allocation import AllocationState
from hivemind.model.app import AppManifest
from hivemind.model.backup import BackupTargetManifest
from hivemind.model.base import encode
from hivemind.model.content import ContentKind, Piece
from hivemind.model.hive import PROTOCOL, Engine, NodeRole
from hivemind.model.image_registry import RegistryManifest
from hivemind.model.job import JobManifest
from hivemind.model.mount import Key
from hivemind.model.names import Name
from hivemind.model.node import NodeManifest
from hivemind.model.principal import Principal, PublicKey
from hivemind.model.project import ProjectManifest
from hivemind.model.routine import RoutineManifest
from hivemind.model.run import Cause
from hivemind.model.snapshot import SnapshotManifest
from hivemind.model.storage import StorageClassManifest
from hivemind.model.volume import Source, VolumeManifest


class Operation(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", omit_defaults=True):
    """Base of all operations."""


class RegisterPrincipal(Operation, frozen=True, kw_only=True, tag="principal.register"):
    """Lets a person or a node in, or gives a person another role.

    The first one of a new hive is accepted from anyone and becomes its administrator."""

    principal: Principal
    if_version: int | None = None


class RevokePrincipal(Operation, frozen=True, kw_only=True, tag="principal.revoke"):
    """From now on that person's key means nothing here."""

    name: str
    if_version: int | None = None


class RegisterNode(Operation, frozen=True, kw_only=True, tag="node.register"):
    """A node says what it is and offers. Sent at every start; agreed labels and schedulability are kept."""

    id: str
    name: str
    cpus: float
    memory: int
    gpus: int = 0
    os: str = "linux"
    arch: str = "amd64"
    runtimes: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    task_slots: int = 16
    """How many attempts of tasks it runs at a time, whatever they ask for."""
    executors: tuple[str, ...] = ("hive",)
    addresses: tuple[str, ...] = ()
    """`host:port` at which other nodes reach its daemon, the best first."""
    subnet: str = ""
    """From which its allocations get their addresses: `10.42.7.0/24`."""
    incarnation: int = 0
    """Given at each start of the daemon and at each return, higher than ever before: it ends what was said of an
    earlier one."""
    protocol: int = PROTOCOL
    """The highest version of what nodes say to each other that it understands."""


class UpdateNode(Operation, frozen=True, kw_only=True, tag="node.update"):
    manifest: NodeManifest
    if_version: int | None = None


class DrainNode(Operation, frozen=True, kw_only=True, tag="node.drain"):
    """Unschedulable, and every allocation on it is moved or stopped."""

    name: str
    deadline: int = 0
    """Milliseconds from now after which what is still there is stopped hard; 0: it has for ever."""
    force: bool = False
    """Now: what is there is stopped without its grace period."""


class ReportCoordinates(Operation, frozen=True, kw_only=True, tag="coordinates.report"):
    """Where a node stands in the network (Vivaldi, rounded to microseconds), told rarely: when it moved by much."""

    node: str
    position: tuple[int, ...]
    """Microseconds in each dimension."""
    height: int = 0
    """Microseconds that every way to it takes longer."""


class FoundHive(Operation, frozen=True, kw_only=True, tag="hive.found"):
    """Makes of a node that was alone a hive that others may join. Until the next one decides with it, it decides
    alone."""

    name: Name
    node: str
    """Id of the founding node, the only one there is."""
    engine: Engine = "pbft"
    """What is to agree once there are two voters."""
    max_voters: int = 7
    require_bft: bool = False
    rotation: int = 0
    rebalance: bool = False


class ConfigureHive(Operation, frozen=True, kw_only=True, tag="hive.configure"):
    """What is None stays as it is."""

    name: Name | None = None
    max_voters: int | None = None
    require_bft: bool | None = None
    rotation: int | None = None
    rebalance: bool | None = None
    if_version: int | None = None


class PutJoinToken(Operation, frozen=True, kw_only=True, tag="jointoken.put"):
    id: PublicKey
    role: NodeRole = "member"
    uses: int = 1
    expires: int
    """Milliseconds since 1970."""


class DeleteJoinToken(Operation, frozen=True, kw_only=True, tag="jointoken.delete"):
    """By its id or the beginning of it."""

    id: str


class JoinHive(Operation, frozen=True, kw_only=True, tag="hive.join"):
    """A node wants in. Submitted by the node that it turned to. `proof` and `consent` sign the same bytes, see
    `security.joining`."""

    node: PublicKey
    name: Name
    role: NodeRole
    administrator: PublicKey
    """Key of the person that administers it so far: of a member's that person administers the hive as well."""
    token: str
    """The token's id."""
    proof: bytes
    """By the token's key: whoever gave the token lets this node in."""
    consent: bytes
    """By the node's key: it wants that itself."""
    protocol: int = PROTOCOL


class ReadyToVote(Operation, frozen=True, kw_only=True, tag="hive.ready"):
    """A node follows what is agreed closely enough to decide. It may become a voter from now on."""

    node: str


class LeaveHive(Operation, frozen=True, kw_only=True, tag="hive.leave"):
    """A node goes, by its own word or an administrator's: first everything moves away from it and others decide in
    its place."""

    node: str
    """Name or id."""
    force: bool = False
    """At once: what it ran counts as lost."""


class AccuseNode(Operation, frozen=True, kw_only=True, tag="node.accuse"):
    """The signer does not reach that node any more. Said again while that lasts."""

    node: str
    incarnation: int
    """Which start of it is meant."""


class AnnounceRestart(Operation, frozen=True, kw_only=True, tag="node.restarting"):
    """The signer's daemon is stopped to be started again, and what it runs goes on: nobody need do anything about it
    before it is back, see `state.restarting`."""

    node: str
    incarnation: int
    """Its present life."""
    grace: int
    """Milliseconds that it may be away."""


class AcquitNode(Operation, frozen=True, kw_only=True, tag="node.acquit"):
    """The signer reaches it again, and takes back what it said."""

    node: str


class ExpelNode(Operation, frozen=True, kw_only=True, tag="node.expel"):
    """A person's word that a node has to go at once and for ever."""

    node: str
    """Name or id."""
    reason: str = ""


class ReportEvidence(Operation, frozen=True, kw_only=True, tag="hive.evidence"):
    """Proof that a node lied, which anybody can check: it is expelled."""

    node: str
    """Id."""
    proof: bytes


class AdoptRecords(Operation, frozen=True, kw_only=True, tag="hive.adopt"):
    """What a node agreed with itself before it joined becomes the hive's, ids included, so that what runs there goes
    on. Signed by the administrator that it brought. One clash refuses all of it."""

    node: str
    records: bytes
    """See `state.adoption.pack`. Secrets are sealed anew for the hive."""


class PutProject(Operation, frozen=True, kw_only=True, tag="project.put"):
    manifest: ProjectManifest
    if_version: int | None = None


class DeleteProject(Operation, frozen=True, kw_only=True, tag="project.delete"):
    """Refused while it has apps."""

    name: str
    if_version: int | None = None


class DeployApp(Operation, frozen=True, kw_only=True, tag="app.deploy"):
    """Creates the app or changes it. Only a changed `spec` makes a new revision."""

    project: str
    manifest: AppManifest
    if_version: int | None = None
    create_only: bool = False
    """Refuse with `Conflict` if the name is taken."""


class ScaleApp(Operation, frozen=True, kw_only=True, tag="app.scale"):
    project: str
    name: str
    replicas: int


class RestartApp(Operation, frozen=True, kw_only=True, tag="app.restart"):
    """A new revision of the same spec: replicas are replaced one by one."""

    project: str
    name: str


class StopApp(Operation, frozen=True, kw_only=True, tag="app.stop"):
    project: str
    name: str


class StartApp(Operation, frozen=True, kw_only=True, tag="app.start"):
    project: str
    name: str


class DeleteApp(Operation, frozen=True, kw_only=True, tag="app.delete"):
    project: str
    name: str
    if_version: int | None = None


class RollbackApp(Operation, frozen=True, kw_only=True, tag="app.rollback"):
    """A new revision that is like an old one: spec, and what its configs and secrets held."""

    project: str
    name: str
    to: int = 0
    """0: the last good one that differs from what shall run now."""


class PauseApp(Operation, frozen=True, kw_only=True, tag="app.pause"):
    """From now on new revisions wait."""

    project: str
    name: str


class ResumeApp(Operation, frozen=True, kw_only=True, tag="app.resume"):
    project: str
    name: str


class PutContent(Operation, frozen=True, kw_only=True, tag="content.put"):
    """Makes a config or secret, or changes what it holds. The pieces of a secret come sealed.

    The apps that use it get a new revision, unless they ignore changes."""

    kind: ContentKind
    project: str
    name: Name
    labels: dict[str, str] | None = None
    """None: as they are."""
    data: dict[Key, Piece] = {}
    keep: bool = False
    """Keys that are not named stay as they are; otherwise `data` is all it holds."""
    remove: tuple[str, ...] = ()
    if_version: int | None = None
    create_only: bool = False


class DeleteContent(Operation, frozen=True, kw_only=True, tag="content.delete"):
    """Refused while an app uses it."""

    kind: ContentKind
    project: str
    name: str
    if_version: int | None = None


class PutVolume(Operation, frozen=True, kw_only=True, tag="volume.put"):
    """Makes a volume, or changes its labels, size and backup policy."""

    project: str
    manifest: VolumeManifest
    if_version: int | None = None
    create_only: bool = False


class DeleteVolume(Operation, frozen=True, kw_only=True, tag="volume.delete"):
    """Refused while an app uses it. Its snapshots stay."""

    project: str
    name: str
    if_version: int | None = None


class RestoreVolume(Operation, frozen=True, kw_only=True, tag="volume.restore"):
    """Refused while a replica has it. What it holds now is gone afterwards."""

    project: str
    name: str
    source: Source
    if_version: int | None = None


class PutSnapshot(Operation, frozen=True, kw_only=True, tag="snapshot.put"):
    project: str
    manifest: SnapshotManifest
    create_only: bool = False


class DeleteSnapshot(Operation, frozen=True, kw_only=True, tag="snapshot.delete"):
    project: str
    name: str
    if_version: int | None = None


class PutStorageClass(Operation, frozen=True, kw_only=True, tag="storageclass.put"):
    manifest: StorageClassManifest
    if_version: int | None = None


class DeleteStorageClass(Operation, frozen=True, kw_only=True, tag="storageclass.delete"):
    """Refused while volumes are of it."""

    name: str
    if_version: int | None = None


class PutBackupTarget(Operation, frozen=True, kw_only=True, tag="backuptarget.put"):
    project: str
    manifest: BackupTargetManifest
    if_version: int | None = None


class DeleteBackupTarget(Operation, frozen=True, kw_only=True, tag="backuptarget.delete"):
    """Refused while a volume is backed up there. What is there stays there."""

    project: str
    name: str
    if_version: int | None = None


class VolumeMade(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    content: int
    """The generation that is there now."""


class ReportVolumes(Operation, frozen=True, kw_only=True, tag="volumes.report"):
    """A node's facts about bytes: what it made of other content, and what it erased."""

    node: str
    made: tuple[VolumeMade, ...] = ()
    gone: tuple[str, ...] = ()


class PutRegistry(Operation, frozen=True, kw_only=True, tag="registry.put"):
    """Makes a registry known, or changes how it is reached. `manifest` holds no password."""

    manifest: RegistryManifest
    sealed: bytes | None = None
    """A `Credential`, sealed; None keeps the one that is there for the same user."""
    if_version: int | None = None


class DeleteRegistry(Operation, frozen=True, kw_only=True, tag="registry.delete"):
    name: str
    if_version: int | None = None


class AllocationReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    state: AllocationState
    started: bool = False
    failing: bool = False
    reason: str = ""
    exit_code: int | None = None
    # Of attempts of tasks:
    cause: Cause | None = None
    """Why it ended."""
    outputs: dict[str, Any] = {}
    started_at: int = 0
    ended_at: int = 0
    unreachable: tuple[str, ...] = ()
    """`host:port why` that it could not connect to; why is `refused`, `unreachable` or `silent`."""


class ReportAllocations(Operation, frozen=True, kw_only=True, tag="allocations.report"):
    """A node's facts about its allocations that must change a decision. Only the node itself may say them."""

    node: str
    reports: tuple[AllocationReport, ...]


class PutJob(Operation, frozen=True, kw_only=True, tag="job.put"):
    """Makes a job, or changes what it is: that makes a new definition. Runs keep theirs."""

    project: str
    manifest: JobManifest
    if_version: int | None = None
    create_only: bool = False


class DeleteJob(Operation, frozen=True, kw_only=True, tag="job.delete"):
    """Its live runs are canceled; their records stay as long as they are kept."""

    project: str
    name: str
    if_version: int | None = None


class PauseJob(Operation, frozen=True, kw_only=True, tag="job.pause"):
    """From now on nothing but a person starts it. With `schedules` only these pause."""

    project: str
    name: str
    paused: bool = True
    """False: resume."""
    schedules: tuple[str, ...] = ()


class PauseQueue(Operation, frozen=True, kw_only=True, tag="queue.pause"):
    """Nothing of that concurrency key starts any more; with an empty key nothing of the project."""

    project: str
    key: str = ""
    paused: bool = True


class StartRun(Operation, frozen=True, kw_only=True, tag="run.start"):
    """By a person. The same `key` (an idempotency key) gives the same run again."""

    project: str
    job: str
    inputs: dict[str, Any] = {}
    sealed: dict[str, bytes] = {}
    priority: int | None = None
    key: str = ""


class Backfill(Operation, frozen=True, kw_only=True, tag="job.backfill"):
    """A run for each time of a schedule from `since` up to, but without, `until` (ms); what ran is not run again."""

    project: str
    job: str
    schedule: str = ""
    since: int
    until: int
    newest_first: bool = False


class CancelRun(Operation, frozen=True, kw_only=True, tag="run.cancel"):
    """All of it, or with `paths` some of its tasks."""

    project: str
    run: str
    paths: tuple[str, ...] = ()
    reason: str = ""
    kill: bool = False
    """Without the grace period."""


class PauseRun(Operation, frozen=True, kw_only=True, tag="run.pause"):
    project: str
    run: str
    paused: bool = True


class RetryRun(Operation, frozen=True, kw_only=True, tag="run.retry"):
    """An ended run goes on: what failed, was canceled or was skipped because of that is done again, with whatever
    needs it; outcomes and outputs of all else are kept. With `paths`, from these tasks on."""

    project: str
    run: str
    paths: tuple[str, ...] = ()


class Approve(Operation, frozen=True, kw_only=True, tag="run.approve"):
    project: str
    run: str
    path: str
    approved: bool = True
    comment: str = ""


class RaiseEvent(Operation, frozen=True, kw_only=True, tag="event.raise"):
    """Something happened that may start jobs. The same `key` is the same event."""

    project: str
    type: str
    """`webhook`, `file`, or what a person posted."""
    job: str = ""
    """Only this one: of webhooks and files, which are addressed."""
    source: str = ""
    """Name of the webhook; of a file trigger, its volume or node and its pattern: `inbox:*.csv`."""
    payload: Any = None
    key: str = ""


class PutRoutine(Operation, frozen=True, kw_only=True, tag="routine.put"):
    project: str
    manifest: RoutineManifest
    if_version: int | None = None
    create_only: bool = False


class DeleteRoutine(Operation, frozen=True, kw_only=True, tag="routine.delete"):
    """Refused while a job of the project calls it."""

    project: str
    name: str
    if_version: int | None = None


class ForceCircuit(Operation, frozen=True, kw_only=True, tag="circuit.force"):
    project: str
    name: str
    state: Literal["open", "closed", "auto"]
    reason: str = ""


class NoticeReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    delivered: bool
    reason: str = ""


class ReportNotices(Operation, frozen=True, kw_only=True, tag="notices.report"):
    """A node's facts about messages that it was to deliver."""

    node: str
    notices: tuple[NoticeReport, ...]


AnyOperation = (
    PutJob
    | DeleteJob
    | PauseJob
    | PauseQueue
    | StartRun
    | Backfill
    | CancelRun
    | PauseRun
    | RetryRun
    | Approve
    | RaiseEvent
    | PutRoutine
    | DeleteRoutine
    | ForceCircuit
    | ReportNotices
    | RegisterPrincipal
    | RevokePrincipal
    | RegisterNode
    | UpdateNode
    | DrainNode
    | PutProject
    | DeleteProject
    | DeployApp
    | ScaleApp
    | RestartApp
    | StopApp
    | StartApp
    | DeleteApp
    | RollbackApp
    | PauseApp
    | ResumeApp
    | PutContent
    | DeleteContent
    | PutRegistry
    | DeleteRegistry
    | ReportAllocations
    | PutVolume
    | DeleteVolume
    | RestoreVolume
    | PutSnapshot
    | DeleteSnapshot
    | PutStorageClass
    | DeleteStorageClass
    | PutBackupTarget
    | DeleteBackupTarget
    | ReportVolumes
    | FoundHive
    | ConfigureHive
    | PutJoinToken
    | DeleteJoinToken
    | JoinHive
    | ReadyToVote
    | LeaveHive
    | AccuseNode
    | AcquitNode
    | AnnounceRestart
    | ExpelNode
    | ReportEvidence
    | AdoptRecords
    | ReportCoordinates
)

_decoder: msgspec.json.Decoder[Operation] = msgspec.json.Decoder(AnyOperation)


def encode_operation(operation: Operation) -> bytes:
    return encode(operation)


def decode_operation(data: bytes) -> Operation:
    """Raises `msgspec.DecodeError` for anything that is not exactly an operation."""
    try:
        return _decoder.decode(data)
    except UnicodeDecodeError as error:  # msgspec's own errors do not include it
        raise msgspec.DecodeError(str(error)) from None
