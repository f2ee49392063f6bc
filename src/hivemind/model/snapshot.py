"""The snapshot: what a volume held at one moment, kept on the volume's node."""

from __future__ import annotations

from typing import Literal

from hivemind.model.base import Document, Record, Spec
from hivemind.model.names import Name
from hivemind.model.resource import Column, Resource


class Snapshot(Record, frozen=True, kw_only=True):
    """Outlives its volume, so that one removed by mistake can be made again."""

    id: str
    project: str
    name: str
    volume: str
    """Id of the volume."""
    volume_name: str
    size: int = 0
    """Limit of the volume, in bytes."""
    storage_class: str = "local"
    node: str
    version: int = 1
    created: int = 0


class SnapshotManifest(Spec, frozen=True, kw_only=True):
    name: Name
    volume: Name


class SnapshotStatus(Document, frozen=True, kw_only=True):
    phase: Literal["pending", "ready", "failed"] = "pending"
    taken: int = 0
    """Milliseconds since 1970: the moment that it shows."""
    used: int = 0
    consistency: Literal["", "stopped", "crash", "live"] = ""
    """Of a volume that nobody used; of one moment, as after a power failure; of files copied one after another."""
    message: str = ""


class SnapshotDocument(Document, frozen=True, kw_only=True):
    kind: Literal["Snapshot"] = "Snapshot"
    project: str
    name: str
    id: str
    volume: str
    node: str
    version: int
    created: int
    status: SnapshotStatus


SNAPSHOT = Resource(
    kind="Snapshot",
    plural="snapshots",
    short="snap",
    scope="project",
    document=SnapshotDocument,
    manifest=SnapshotManifest,
    deletable=True,
    columns=(
        Column("NAME", "name"),
        Column("VOLUME", "volume"),
        Column("STATUS", "status.phase"),
        Column("CONSISTENT", "status.consistency"),
        Column("USED", "status.used", format="bytes"),
        Column("AGE", "created", format="age"),
        Column("NODE", "node", wide=True),
        Column("MESSAGE", "status.message", wide=True),
    ),
)
