"""What operations do to volumes.

Here stands who keeps what and who may touch it. That the bytes follow is the business of the nodes, which look at
these tables and say only what decides something: content that was made, bytes that are gone.
"""

from __future__ import annotations

from msgspec.structs import replace

from hivemind.errors import Conflict, Forbidden, Invalid, NotFound
from hivemind.model.allocation import Allocation
from hivemind.model.names import derive_id
from hivemind.model.principal import Principal
from hivemind.model.quantity import show_bytes
from hivemind.model.storage import StorageClass
from hivemind.model.volume import (
    SMALLEST,
    FromBackup,
    FromSnapshot,
    Origin,
    Source,
    Volume,
    VolumeManifest,
    key,
)
from hivemind.state.operations import DeleteVolume, PutVolume, ReportVolumes, RestoreVolume
from hivemind.state.projects import check_version, known
from hivemind.state.snapshots import find_snapshot
from hivemind.state.state import Outcome, State
from hivemind.state.storage import discard, find_target, storage_class
from hivemind.state.volume_use import apps_of, find_volume, jobs_of, must_be_free, needs, wanted_by


def put(state: State, operation: PutVolume, who: Principal) -> Outcome:
    manifest = operation.manifest
    old = state.volumes.get(key(known(state, operation.project), manifest.name))
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
        must_be_free(state, old, "made smaller")


def delete(state: State, operation: DeleteVolume, who: Principal) -> Outcome:
    old = find_volume(state, operation.project, operation.name)
    check_version(operation.if_version, old.version)
    must_be_free(state, old, "removed")
    # Its replica may be scaled away. Then the person who names it means it; `prune` never comes here.
    apps = [app for app in apps_of(state, old) if needs(state, app, old.name)]
    if apps:
        names = ", ".join(sorted(app.name for app in apps))
        raise Conflict(
            f"volume {old.name!r} is used by {names}",
            hint=f"remove the app first: hivemind app rm {apps[0].name}",
        )
    if jobs := jobs_of(state, old):
        raise Conflict(
            f"volume {old.name!r} is used by the job {jobs[0]}",
            hint=f"remove the job first: hivemind job rm {jobs[0]}",
        )
    copies = [v.name for v in state.volumes.values() if v.origin and v.origin.id == old.id]
    if copies:
        raise Conflict(f"volume {copies[0]!r} is still being copied from it", hint="wait until that is ready")
    kind = storage_class(state, old.storage_class)
    discard(state, old.id, old.node, "volume", kind)
    state.tables.remove(state.volumes, old.key)
    return Outcome(id=old.id)


def restore(state: State, operation: RestoreVolume, who: Principal) -> Outcome:
    old = find_volume(state, operation.project, operation.name)
    check_version(operation.if_version, old.version)
    must_be_free(state, old, "restored")
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


def bind(state: State, allocation: Allocation) -> None:
    """The allocation has a node: so have its volumes. Those that nobody made are made with the defaults."""
    for name in wanted_by(state, allocation):
        old = state.volumes.get(key(allocation.project, name))
        if old is None:
            _save(state, _new(state, allocation.project, VolumeManifest(name=name), allocation.node, None))
        elif not old.node:
            _save(state, replace(old, node=allocation.node, updated=state.time))


def report(state: State, operation: ReportVolumes, who: Principal) -> Outcome:
    """Facts that are not about this node, or are outdated, are passed over: the node looks again."""
    if operation.node != who.id:
        raise Forbidden("a node reports about its own volumes only")
    for id in operation.gone:
        left = state.discarded.get(id)
        if left and left.node == who.id:
            state.tables.remove(state.discarded, id)
    by_id = {volume.id: volume for volume in state.volumes.values()} if operation.made else {}
    for made in operation.made:
        volume = by_id.get(made.id)
        if volume and volume.node == who.id and volume.content == made.content and volume.origin:
            _save(state, replace(volume, origin=None))
    return Outcome()


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
