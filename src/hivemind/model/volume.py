"""The volume: files that outlive the containers that use them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from msgspec import Meta

from hivemind.model.app import AppSpec
from hivemind.model.base import Document, Record, Spec
from hivemind.model.mount import VolumeMount
from hivemind.model.names import Name
from hivemind.model.quantity import Bytes, Seconds
from hivemind.model.resource import Column, Resource

SMALLEST: Final = 16 * 2**20
"""Bytes of the smallest volume with a limit: less holds no journal."""


class FromVolume(Spec, frozen=True, kw_only=True, tag="volume", tag_field="kind"):
    """A copy of another volume of the project, as it is now."""

    name: Name


class FromSnapshot(Spec, frozen=True, kw_only=True, tag="snapshot", tag_field="kind"):
    name: Name


class FromBackup(Spec, frozen=True, kw_only=True, tag="backup", tag_field="kind"):
    """A backup of any volume, also of another hive, at one of the project's backup targets."""

    target: Name
    id: Annotated[str, Meta(pattern=r"^[0-9a-f]{8,64}\Z", description="a backup's id")]


Source = FromVolume | FromSnapshot | FromBackup


class BackupPolicy(Spec, frozen=True, kw_only=True):
    """A backup `every` so often, the newest `keep` of which are kept."""

    target: Name
    every: Seconds = 86400.0
    """At least a minute."""
    keep: Annotated[int, Meta(ge=1, le=10_000)] = 7
    verify_every: Seconds = 604_800.0
    """How often one is restored and compared with what was backed up; 0: never."""


class Origin(Record, frozen=True, kw_only=True):
    """Where content comes from that its node has still to make."""

    kind: Literal["volume", "snapshot", "backup"]
    id: str
    """Of the volume, snapshot or backup."""
    target: str = ""
    """The backup target's name."""


class Volume(Record, frozen=True, kw_only=True):
    id: str
    project: str
    name: str
    labels: dict[str, str] = {}
    storage_class: str = "local"
    size: int = 0
    """Bytes that it may hold; 0: as many as its file system."""
    node: str = ""
    """Id of the node that keeps it (or looks after it, if it is shared); empty until one is known."""
    content: int = 1
    """Generation of its content: restoring makes a new one."""
    origin: Origin | None = None
    """Until the node has made this generation of other content."""
    backup: BackupPolicy | None = None
    version: int = 1
    created: int = 0
    updated: int = 0

    @property
    def key(self) -> str:
        return key(self.project, self.name)


class Discarded(Record, frozen=True, kw_only=True):
    """A volume or snapshot that the hive has forgotten and whose bytes its node has still to erase."""

    id: str
    node: str
    kind: Literal["volume", "snapshot"]
    driver: str = "local"
    parameters: dict[str, str] = {}


class VolumeManifest(Spec, frozen=True, kw_only=True):
    name: Name
    labels: dict[str, str] = {}
    storage_class: Name = "local"
    size: Bytes = 0
    node: Name | None = None
    """The node that shall keep it; else the first that uses it."""
    source: Source | None = None
    """What it holds at first; nothing, when absent. Without meaning for a volume that is there."""
    backup: BackupPolicy | None = None


class BackupResult(Record, frozen=True, kw_only=True):
    """How the last backup went."""

    id: str = ""
    target: str = ""
    time: int = 0
    """Milliseconds since 1970: when it was begun."""
    seconds: float = 0.0
    consistency: Literal["", "stopped", "crash", "live"] = ""
    """Of a volume that nobody used; of one moment, as after a power failure; of files copied one after another."""
    added: int = 0
    """Bytes that were new to the target."""
    error: str = ""


Phase = Literal["pending", "making", "ready", "restoring", "failed"]


class VolumeStatus(Document, frozen=True, kw_only=True):
    """What its node sees."""

    phase: Phase = "pending"
    content: int = 0
    """The generation that is there."""
    size: int = 0
    """The limit that holds, in bytes."""
    used: int = 0
    path: str = ""
    message: str = ""
    backup: BackupResult | None = None
    """The last one that was tried."""
    backed_up: int = 0
    verified: int = 0
    """When (ms) a backup last succeeded, and when one was last restored and found equal."""
    observed: int = 0


class VolumeDocument(Document, frozen=True, kw_only=True):
    kind: Literal["Volume"] = "Volume"
    project: str
    name: str
    id: str
    labels: dict[str, str]
    storage_class: str
    size: int
    node: str
    content: int
    backup: BackupPolicy | None
    used_by: tuple[str, ...]
    """Apps that mention it."""
    version: int
    created: int
    updated: int
    status: VolumeStatus

    @property
    def limit(self) -> int | None:
        return self.size or None


def key(project: str, name: str) -> str:
    """Of the tables of volumes and snapshots, and of the project's other things with names of their own."""
    return f"{project}/{name}"


def name_of(mount: VolumeMount, slot: int) -> str:
    """Which volume a replica's mount means."""
    return f"{mount.source}-{slot}" if mount.per_replica else mount.source


def volume_mounts(spec: AppSpec) -> Iterator[VolumeMount]:
    """Of its own container and all companions."""
    for template in spec.templates:
        yield from (mount for mount in template.mounts if isinstance(mount, VolumeMount))


VOLUME = Resource(
    kind="Volume",
    plural="volumes",
    short="vol",
    scope="project",
    document=VolumeDocument,
    manifest=VolumeManifest,
    deletable=True,
    columns=(
        Column("NAME", "name"),
        Column("STATUS", "status.phase"),
        Column("USED", "status.used", format="bytes"),
        Column("LIMIT", "limit", format="bytes"),
        Column("NODE", "node"),
        Column("USED BY", "used_by", format="list"),
        Column("AGE", "created", format="age"),
        Column("CLASS", "storage_class", wide=True),
        Column("BACKED UP", "status.backed_up", format="age", wide=True),
        Column("MESSAGE", "status.message", wide=True),
    ),
)
