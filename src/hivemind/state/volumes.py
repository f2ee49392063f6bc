"""What operations do to volumes, snapshots, storage classes and backup targets.

Here stands who keeps what and who may touch it. That the bytes follow is the business of the nodes, which look at
these tables and say only what decides something: content that was made, bytes that are gone.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from hivemind.errors import Conflict, Forbidden, Invalid, NotFound
from hivemind.model.allocation import Allocation
from hivemind.model.app import App
from hivemind.model.backup import BackupTarget
from hivemind.model.mount import VolumeMount
from hivemind.model.names import derive_id
from hivemind.model.principal import Principal
from hivemind.model.quantity import show_bytes
from hivemind.model.snapshot import Snapshot
from hivemind.model.storage import LOCAL, StorageClass
from hivemind.model.volume import (
    SMALLEST,
    Discarded,
    FromBackup,
    FromSnapshot,
    Origin,
    Source,
    Volume,
    VolumeManifest,
    key,
    name_of,
    volume_mounts,
)
from hivemind.state.operations import (
    DeleteBackupTarget,
    DeleteSnapshot,
    DeleteStorageClass,
    DeleteVolume,
    PutBackupTarget,
    PutSnapshot,
    PutStorageClass,
    PutVolume,
    ReportVolumes,
    RestoreVolume,
)
from hivemind.state.projects import check_version
from hivemind.state.state import Outcome, State

# -- who uses what -------------------------------------------------------------------------------------------


def mentioned_by(state: State, volume: Volume) -> list[str]:
    """Apps whose wanted revision mounts it, running or not. A replica's own volume counts although its slot may
    be scaled away: it is wanted again when the app grows."""
    return sorted({app.name for app in _apps(state, volume.project) if _mentions(state, app, volume.name)})


def held_by(state: State, volume: Volume) -> list[str]:
    """Replicas (`db.0`) that have it mounted, or will as soon as they start."""
    return sorted({f"{a.app_name}.{a.slot}" for a in holders(state, volume)})


def holders(state: State, volume: Volume) -> Iterator[Allocation]:
    for allocation in state.allocations.values():
        if allocation.live and allocation.node and allocation.project == volume.project:
            mounts = volume_mounts(state.spec_of(allocation))
            if any(name_of(mount, allocation.slot) == volume.name for mount in mounts):
                yield allocation


def _apps(state: State, project: str) -> Iterator[App]:
    return (app for app in state.apps.values() if app.project == project and not app.deleted)


def _mentions(state: State, app: App, name: str) -> bool:
    return any(_means(mount, name) for mount in volume_mounts(state.revision(app.id, app.revision).spec))


def _means(mount: VolumeMount, name: str) -> bool:
    if not mount.per_replica:
        return mount.source == name
    base, _, slot = name.rpartition("-")
    return base == mount.source and slot.isdigit()


# -- placing -------------------------------------------------------------------------------------------------


def wanted_by(state: State, allocation: Allocation) -> list[str]:
    """Names of the volumes that the allocation mounts."""
    mounts = volume_mounts(state.spec_of(allocation))
    return sorted({name_of(mount, allocation.slot) for mount in mounts})


def ties(state: State, allocation: Allocation) -> tuple[tuple[str, str], ...]:
    """Volumes that are on one node only, each with the id of that node."""
    found = []
    for name in wanted_by(state, allocation):
        volume = state.volumes.get(key(allocation.project, name))
        if volume and volume.node and not storage_class(state, volume.storage_class).shared:
            found.append((name, volume.node))
    return tuple(found)


def loose(state: State, allocation: Allocation) -> frozenset[str]:
    """Keys of volumes that the node where the allocation goes will keep, and which therefore nobody else may
    place at the same time."""
    keys = (key(allocation.project, name) for name in wanted_by(state, allocation))
    return frozenset(k for k in keys if k not in state.volumes or not state.volumes[k].node)


def bind(state: State, allocation: Allocation) -> None:
    """The allocation has a node: so have its volumes. Those that nobody made are made with the defaults."""
    for name in wanted_by(state, allocation):
        old = state.volumes.get(key(allocation.project, name))
        if old is None:
            _save(state, _new(state, allocation.project, VolumeManifest(name=name), allocation.node, None))
        elif not old.node:
            _save(state, replace(old, node=allocation.node, updated=state.time))


# -- volumes -------------------------------------------------------------------------------------------------


def put(state: State, operation: PutVolume, who: Principal) -> Outcome:
    manifest = operation.manifest
    old = state.volumes.get(key(_project(state, operation.project), manifest.name))
    if old and operation.create_only:
        raise Conflict(
            f"there is already a volume {manifest.name!r}", hint="use that one, or choose another name"
        )
    check_version(operation.if_version, old.version if old else 0)
    _check_size(manifest.size)
    if manifest.backup:
        find_target(state, operation.project, manifest.backup.target)
        if manifest.backup.every < 60:
            raise Invalid("a backup is made once a minute at most", hint="say how often: --every 1d")
    new = _create(state, operation.project, manifest) if old is None else _change(state, old, manifest)
    _save(state, new)
    return Outcome(id=new.id, version=new.version)


def _create(state: State, project: str, manifest: VolumeManifest) -> Volume:
    kind = storage_class(state, manifest.storage_class)
    _check_limit(kind, manifest.size)
    origin, size, home = None, manifest.size, ""
    if manifest.source:
        origin, size, home = _origin(state, project, manifest.source)
        size = manifest.size or (0 if kind.shared else size)
    node = home or _only_node(state)
    if manifest.node:
        node = _node_id(state, manifest.node)
        if home and node != home:
            raise Conflict(
                f"what it shall hold is on node {_node_name(state, home)}",
                hint="leave out --node, or back it up",
            )
    return _new(state, project, manifest, node, origin, size)


def _new(
    state: State, project: str, manifest: VolumeManifest, node: str, origin: Origin | None, size: int = 0
) -> Volume:
    return Volume(
        id=derive_id("volume", state.hive, project, manifest.name, state.sequence),
        project=project,
        name=manifest.name,
        labels=manifest.labels,
        storage_class=manifest.storage_class,
        size=size or manifest.size,
        node=node,
        origin=origin,
        backup=manifest.backup,
        created=state.time,
        updated=state.time,
    )


def _change(state: State, old: Volume, manifest: VolumeManifest) -> Volume:
    if manifest.storage_class != old.storage_class:
        raise Invalid(
            f"volume {old.name!r} is of the storage class {old.storage_class}, which cannot change",
            hint=f"copy it: hivemind volume clone {old.name} NEW --class {manifest.storage_class}",
        )
    if manifest.node and old.node != _node_id(state, manifest.node):
        if old.node:
            raise Conflict(
                f"volume {old.name!r} is on node {_node_name(state, old.node)}",
                hint="back it up and restore it there",
            )
        old = replace(old, node=_node_id(state, manifest.node))
    _check_resize(state, old, manifest.size)
    new = replace(old, labels=manifest.labels, size=manifest.size, backup=manifest.backup)
    return new if new == old else replace(new, version=old.version + 1, updated=state.time)


def _check_resize(state: State, old: Volume, size: int) -> None:
    if size == old.size:
        return
    if not (size and old.size):
        what = "has no limit and cannot get one" if size else "has a limit and cannot lose it"
        wish = f" --size {show_bytes(size)}" if size else ""
        raise Invalid(
            f"volume {old.name!r} {what}: they are kept in different ways",
            hint=f"copy it: hivemind volume clone {old.name} NEW{wish}",
        )
    if size < old.size:
        _must_be_free(state, old, "made smaller")


def delete(state: State, operation: DeleteVolume, who: Principal) -> Outcome:
    old = find_volume(state, operation.project, operation.name)
    check_version(operation.if_version, old.version)
    _must_be_free(state, old, "removed")
    # Its replica may be scaled away. Then the person who names it means it; `prune` never comes here.
    apps = [app for app in _apps(state, old.project) if _needs(state, app, old.name)]
    if apps:
        names = ", ".join(sorted(app.name for app in apps))
        raise Conflict(
            f"volume {old.name!r} is used by {names}",
            hint=f"remove the app first: hivemind app rm {apps[0].name}",
        )
    copies = [v.name for v in state.volumes.values() if v.origin and v.origin.id == old.id]
    if copies:
        raise Conflict(f"volume {copies[0]!r} is still being copied from it", hint="wait until that is ready")
    kind = storage_class(state, old.storage_class)
    _discard(state, old.id, old.node, "volume", kind)
    state.tables.remove(state.volumes, old.key)
    return Outcome(id=old.id)


def _needs(state: State, app: App, name: str) -> bool:
    slots = range(app.replicas)
    return any(
        mount.source == name if not mount.per_replica else any(name_of(mount, slot) == name for slot in slots)
        for mount in volume_mounts(state.revision(app.id, app.revision).spec)
        if _means(mount, name)
    )


def _must_be_free(state: State, volume: Volume, what: str) -> None:
    users = held_by(state, volume)
    if users:
        app = users[0].rpartition(".")[0]
        raise Conflict(
            f"volume {volume.name!r} is used by {', '.join(users[:5])}, so it cannot be {what}",
            hint=f"stop it first: hivemind app stop {app}",
        )


def restore(state: State, operation: RestoreVolume, who: Principal) -> Outcome:
    old = find_volume(state, operation.project, operation.name)
    check_version(operation.if_version, old.version)
    _must_be_free(state, old, "restored")
    origin, _, home = _origin(state, operation.project, operation.source)
    if origin.id == old.id:
        raise Invalid("a volume cannot be restored from itself", hint="name one of its snapshots or backups")
    if home and old.node and home != old.node:
        raise Conflict(
            f"volume {old.name!r} is on node {_node_name(state, old.node)}, and what it shall hold is on"
            f" {_node_name(state, home)}",
            hint="make a new volume of it instead: hivemind volume restore … --to NEW",
        )
    new = replace(
        old, content=old.content + 1, origin=origin, node=old.node or home or _only_node(state),
        version=old.version + 1, updated=state.time,
    )  # fmt: skip
    _save(state, new)
    return Outcome(id=new.id, version=new.version)


def _origin(state: State, project: str, source: Source) -> tuple[Origin, int, str]:
    """What to copy, how large the volume was, and the node that has it (empty: any can fetch it)."""
    if isinstance(source, FromBackup):
        find_target(state, project, source.target)
        return Origin(kind="backup", id=source.id, target=source.target), 0, ""
    if isinstance(source, FromSnapshot):
        snapshot = find_snapshot(state, project, source.name)
        return Origin(kind="snapshot", id=snapshot.id), snapshot.size, snapshot.node
    volume = find_volume(state, project, source.name)
    if not volume.node or volume.origin:
        raise Conflict(
            f"volume {volume.name!r} holds nothing yet", hint="use it first, or wait until it is ready"
        )
    return Origin(kind="volume", id=volume.id), volume.size, volume.node


def _save(state: State, volume: Volume) -> None:
    state.tables.put(state.volumes, volume.key, volume)


def _check_size(size: int) -> None:
    if 0 < size < SMALLEST:
        raise Invalid(f"a volume of {show_bytes(size)} is too small", hint=f"at least {show_bytes(SMALLEST)}")


def _check_limit(kind: StorageClass, size: int) -> None:
    if size and kind.driver == "nfs":
        raise Invalid(
            "the driver nfs cannot limit a volume", hint="leave out the size, or set a quota on the server"
        )


# -- snapshots -----------------------------------------------------------------------------------------------


def put_snapshot(state: State, operation: PutSnapshot, who: Principal) -> Outcome:
    manifest = operation.manifest
    volume = find_volume(state, _project(state, operation.project), manifest.volume)
    old = state.snapshots.get(key(operation.project, manifest.name))
    if old:
        if old.volume == volume.id and not operation.create_only:
            return Outcome(id=old.id, version=old.version)
        raise Conflict(f"there is already a snapshot {manifest.name!r}", hint="choose another name")
    if not volume.node or volume.origin:
        raise Conflict(
            f"volume {volume.name!r} holds nothing yet", hint="use it first, or wait until it is ready"
        )
    if storage_class(state, volume.storage_class).shared:
        raise Invalid(
            f"volume {volume.name!r} is on a server, which hive snapshots do not reach",
            hint="back it up (hivemind volume backup), or take a snapshot on the server",
        )
    snapshot = Snapshot(
        id=derive_id("snapshot", state.hive, operation.project, manifest.name, state.sequence),
        project=operation.project,
        name=manifest.name,
        volume=volume.id,
        volume_name=volume.name,
        size=volume.size,
        storage_class=volume.storage_class,
        node=volume.node,
        created=state.time,
    )
    state.tables.put(state.snapshots, key(snapshot.project, snapshot.name), snapshot)
    return Outcome(id=snapshot.id, version=snapshot.version)


def delete_snapshot(state: State, operation: DeleteSnapshot, who: Principal) -> Outcome:
    old = find_snapshot(state, operation.project, operation.name)
    check_version(operation.if_version, old.version)
    copies = [v.name for v in state.volumes.values() if v.origin and v.origin.id == old.id]
    if copies:
        raise Conflict(
            f"volume {copies[0]!r} is still being made from it", hint="wait until that is ready, or remove it"
        )
    _discard(state, old.id, old.node, "snapshot", storage_class(state, old.storage_class))
    state.tables.remove(state.snapshots, key(old.project, old.name))
    return Outcome(id=old.id)


def _discard(state: State, id: str, node: str, kind: str, by: StorageClass) -> None:
    if node in state.nodes:
        left = Discarded(
            id=id, node=node, kind="volume" if kind == "volume" else "snapshot",
            driver=by.driver, parameters=by.parameters,
        )  # fmt: skip
        state.tables.put(state.discarded, id, left)


# -- storage classes, backup targets -------------------------------------------------------------------------


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
    old = state.backup_targets.get(key(_project(state, operation.project), manifest.name))
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


# -- what nodes say ------------------------------------------------------------------------------------------


def report(state: State, operation: ReportVolumes, who: Principal) -> Outcome:
    """Facts that are not about this node, or are outdated, are passed over: the node looks again."""
    if operation.node != who.id:
        raise Forbidden("a node reports about its own volumes only")
    for id in operation.gone:
        left = state.discarded.get(id)
        if left and left.node == who.id:
            state.tables.remove(state.discarded, id)
    for made in operation.made:
        volume = next((v for v in state.volumes.values() if v.id == made.id), None)
        if volume and volume.node == who.id and volume.content == made.content and volume.origin:
            _save(state, replace(volume, origin=None))
    return Outcome()


# -- finding -------------------------------------------------------------------------------------------------


def find_volume(state: State, project: str, name: str) -> Volume:
    found = state.volumes.get(key(project, name))
    if found is None:
        raise NotFound(
            f"there is no volume {name!r} in project {project!r}", hint="hivemind volume ls shows them"
        )
    return found


def find_snapshot(state: State, project: str, name: str) -> Snapshot:
    found = state.snapshots.get(key(project, name))
    if found is None:
        raise NotFound(
            f"there is no snapshot {name!r} in project {project!r}",
            hint="hivemind volume snapshots shows them",
        )
    return found


def find_target(state: State, project: str, name: str) -> BackupTarget:
    found = state.backup_targets.get(key(project, name))
    if found is None:
        raise NotFound(
            f"there is no backup target {name!r} in project {project!r}",
            hint="hivemind backup-target create NAME --location … --secret …",
        )
    return found


def _project(state: State, name: str) -> str:
    if name not in state.projects:
        raise NotFound(f"there is no project {name!r}", hint=f"hivemind project create {name}")
    return name


def _only_node(state: State) -> str:
    """Where everything is anyway; empty where there is a choice."""
    nodes = list(state.nodes)
    return nodes[0] if len(nodes) == 1 else ""


def _node_id(state: State, name: str) -> str:
    for node in state.nodes.values():
        if node.name == name:
            return node.id
    raise NotFound(f"there is no node {name!r}", hint="hivemind node ls shows them")


def _node_name(state: State, id: str) -> str:
    return state.nodes[id].name if id in state.nodes else id[:12]
