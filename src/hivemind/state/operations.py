"""Operations: the wishes and reports that the hive agrees on, one struct each.

An operation says what, never how; its meaning is in `state.apply`. Everything here is a value that travels
signed (see `security.envelope`), so fields are only ever added, with defaults.
"""

from __future__ import annotations

import msgspec

from hivemind.model.allocation import AllocationState
from hivemind.model.app import AppManifest
from hivemind.model.backup import BackupTargetManifest
from hivemind.model.base import encode
from hivemind.model.content import ContentKind, Piece
from hivemind.model.image_registry import RegistryManifest
from hivemind.model.mount import Key
from hivemind.model.names import Name
from hivemind.model.node import NodeManifest
from hivemind.model.principal import Principal
from hivemind.model.project import ProjectManifest
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


class UpdateNode(Operation, frozen=True, kw_only=True, tag="node.update"):
    manifest: NodeManifest
    if_version: int | None = None


class DrainNode(Operation, frozen=True, kw_only=True, tag="node.drain"):
    """Unschedulable, and every allocation on it is moved or stopped."""

    name: str


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


class ReportAllocations(Operation, frozen=True, kw_only=True, tag="allocations.report"):
    """A node's facts about its allocations that must change a decision. Only the node itself may say them."""

    node: str
    reports: tuple[AllocationReport, ...]


AnyOperation = (
    RegisterPrincipal
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
)

_decoder: msgspec.json.Decoder[Operation] = msgspec.json.Decoder(AnyOperation)


def encode_operation(operation: Operation) -> bytes:
    return encode(operation)


def decode_operation(data: bytes) -> Operation:
    """Raises `msgspec.DecodeError` for anything that is not exactly an operation."""
    return _decoder.decode(data)
