"""What operations do to storage classes and backup targets, and what is left of storage for nodes to erase."""

from __future__ import annotations

from msgspec.structs import replace

from hivemind.errors import Conflict, Forbidden, NotFound
from hivemind.model.backup import BackupTarget
from hivemind.model.principal import Principal
from hivemind.model.storage import LOCAL, StorageClass
from hivemind.model.volume import Discarded, Volume, key
from hivemind.state.operations import DeleteBackupTarget, DeleteStorageClass, PutBackupTarget, PutStorageClass
from hivemind.state.projects import check_version, known
from hivemind.state.state import Outcome, State


def keeper(state: State, volume: Volume) -> str:
    """The node whose word about the volume counts; empty: anybody's, as all have it, or nobody yet."""
    return "" if storage_class(state, volume.storage_class).shared else volume.node


def storage_class(state: State, name: str) -> StorageClass:
    """Raises `NotFound`."""
    found = state.storage_classes.get(name) or (LOCAL if name == LOCAL.name else None)
    if found is None:
        raise NotFound(f"there is no storage class {name!r}", hint="hivemind get storageclasses shows them")
    return found


def put_class(state: State, operation: PutStorageClass, who: Principal) -> Outcome:
    manifest = operation.manifest
    manifest.validate()
    if manifest.name == LOCAL.name:
        raise Forbidden("the storage class local cannot be changed", hint="choose another name")
    old = state.storage_classes.get(manifest.name)
    check_version(operation.if_version, old.version if old else 0)
    if old:
        if (old.driver, old.parameters) != (manifest.driver, manifest.parameters):
            raise Conflict(
                f"the storage class {old.name!r} is fixed: volumes were made by it",
                hint="make one of another name",
            )
        return Outcome(id=old.name, version=old.version)
    new = StorageClass(
        name=manifest.name, driver=manifest.driver, parameters=manifest.parameters, created=state.time
    )
    state.tables.put(state.storage_classes, new.name, new)
    return Outcome(id=new.name, version=new.version)


def delete_class(state: State, operation: DeleteStorageClass, who: Principal) -> Outcome:
    old = storage_class(state, operation.name)
    if old is LOCAL:
        raise Forbidden("the storage class local cannot be removed")
    check_version(operation.if_version, old.version)
    users = [v.name for v in state.volumes.values() if v.storage_class == old.name]
    if users:
        raise Conflict(
            f"the storage class {old.name!r} is used by the volumes {', '.join(users[:5])}",
            hint="remove them first",
        )
    state.tables.remove(state.storage_classes, old.name)
    return Outcome(id=old.name)


def put_target(state: State, operation: PutBackupTarget, who: Principal) -> Outcome:
    manifest = operation.manifest
    manifest.validate()
    old = state.backup_targets.get(key(known(state, operation.project), manifest.name))
    check_version(operation.if_version, old.version if old else 0)
    new = BackupTarget(
        project=operation.project,
        name=manifest.name,
        location=manifest.location,
        secret=manifest.secret,
        version=old.version if old else 1,
        created=old.created if old else state.time,
        updated=old.updated if old else state.time,
    )
    if old and new != old:
        new = replace(new, version=old.version + 1, updated=state.time)
    state.tables.put(state.backup_targets, key(new.project, new.name), new)
    return Outcome(id=key(new.project, new.name), version=new.version)


def delete_target(state: State, operation: DeleteBackupTarget, who: Principal) -> Outcome:
    """What was backed up there stays there."""
    old = find_target(state, operation.project, operation.name)
    check_version(operation.if_version, old.version)
    users = target_users(state, old)
    if users:
        raise Conflict(
            f"the backup target {old.name!r} is used by the volumes {', '.join(users[:5])}",
            hint="give them another policy first",
        )
    state.tables.remove(state.backup_targets, key(old.project, old.name))
    return Outcome(id=key(old.project, old.name))


def target_users(state: State, target: BackupTarget) -> list[str]:
    return [
        v.name
        for v in state.volumes.values()
        if v.project == target.project
        and ((v.backup and v.backup.target == target.name) or (v.origin and v.origin.target == target.name))
    ]


def find_target(state: State, project: str, name: str) -> BackupTarget:
    found = state.backup_targets.get(key(project, name))
    if found is None:
        raise NotFound(
            f"there is no backup target {name!r} in project {project!r}",
            hint="hivemind backup-target create NAME --location … --secret …",
        )
    return found


def discard(state: State, id: str, node: str, kind: str, by: StorageClass) -> None:
    """The node shall erase the bytes of that volume or snapshot, which the hive forgets."""
    if node in state.nodes:
        left = Discarded(
            id=id, node=node, kind="volume" if kind == "volume" else "snapshot",
            driver=by.driver, parameters=by.parameters,
        )  # fmt: skip
        state.tables.put(state.discarded, id, left)
