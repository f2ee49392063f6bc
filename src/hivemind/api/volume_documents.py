"""Documents of volumes, snapshots, storage classes and backup targets."""

from __future__ import annotations

from collections.abc import Iterable

from hivemind.api.backend import Backend
from hivemind.api.documents import observed
from hivemind.model.backup import BackupTarget, BackupTargetDocument
from hivemind.model.snapshot import Snapshot, SnapshotDocument, SnapshotStatus
from hivemind.model.storage import LOCAL, StorageClass, StorageClassDocument
from hivemind.model.volume import Volume, VolumeDocument, VolumeStatus
from hivemind.state.storage import keeper, target_users
from hivemind.state.volume_use import mentioned_by


async def volumes(backend: Backend) -> Iterable[Volume]:
    return backend.state.volumes.values()


async def snapshots(backend: Backend) -> Iterable[Snapshot]:
    return backend.state.snapshots.values()


async def storage_classes(backend: Backend) -> Iterable[StorageClass]:
    return [LOCAL, *backend.state.storage_classes.values()]


async def backup_targets(backend: Backend) -> Iterable[BackupTarget]:
    return backend.state.backup_targets.values()


def volume_document(backend: Backend, volume: Volume) -> VolumeDocument:
    return VolumeDocument(
        project=volume.project,
        name=volume.name,
        id=volume.id,
        labels=volume.labels,
        storage_class=volume.storage_class,
        size=volume.size,
        node=_node(backend, volume.node),
        content=volume.content,
        backup=volume.backup,
        used_by=tuple(mentioned_by(backend.state, volume)),
        version=volume.version,
        created=volume.created,
        updated=volume.updated,
        status=observed(backend, f"volume/{volume.id}", VolumeStatus, keeper(backend.state, volume)),
    )


def snapshot_document(backend: Backend, snapshot: Snapshot) -> SnapshotDocument:
    return SnapshotDocument(
        project=snapshot.project,
        name=snapshot.name,
        id=snapshot.id,
        volume=snapshot.volume_name,
        node=_node(backend, snapshot.node),
        version=snapshot.version,
        created=snapshot.created,
        status=observed(backend, f"snapshot/{snapshot.id}", SnapshotStatus, snapshot.node),
    )


def storage_class_document(backend: Backend, kind: StorageClass) -> StorageClassDocument:
    return StorageClassDocument(
        name=kind.name,
        driver=kind.driver,
        parameters=kind.parameters,
        volumes=sum(1 for v in backend.state.volumes.values() if v.storage_class == kind.name),
        version=kind.version,
        created=kind.created,
    )


def backup_target_document(backend: Backend, target: BackupTarget) -> BackupTargetDocument:
    return BackupTargetDocument(
        project=target.project,
        name=target.name,
        location=target.location,
        secret=target.secret,
        used_by=tuple(target_users(backend.state, target)),
        version=target.version,
        created=target.created,
        updated=target.updated,
    )


def _node(backend: Backend, id: str) -> str:
    node = backend.state.nodes.get(id)
    return node.name if node else ""
