"""What operations do to snapshots."""

from __future__ import annotations

from hivemind.errors import Conflict, Invalid, NotFound
from hivemind.model.names import derive_id
from hivemind.model.principal import Principal
from hivemind.model.snapshot import Snapshot
from hivemind.model.volume import key
from hivemind.state.operations import DeleteSnapshot, PutSnapshot
from hivemind.state.projects import check_version, known
from hivemind.state.state import Outcome, State
from hivemind.state.storage import discard, storage_class
from hivemind.state.volume_use import find_volume


def put(state: State, operation: PutSnapshot, who: Principal) -> Outcome:
    manifest = operation.manifest
    volume = find_volume(state, known(state, operation.project), manifest.volume)
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


def delete(state: State, operation: DeleteSnapshot, who: Principal) -> Outcome:
    old = find_snapshot(state, operation.project, operation.name)
    check_version(operation.if_version, old.version)
    copies = [v.name for v in state.volumes.values() if v.origin and v.origin.id == old.id]
    if copies:
        raise Conflict(
            f"volume {copies[0]!r} is still being made from it", hint="wait until that is ready, or remove it"
        )
    discard(state, old.id, old.node, "snapshot", storage_class(state, old.storage_class))
    state.tables.remove(state.snapshots, key(old.project, old.name))
    return Outcome(id=old.id)


def find_snapshot(state: State, project: str, name: str) -> Snapshot:
    found = state.snapshots.get(key(project, name))
    if found is None:
        raise NotFound(
            f"there is no snapshot {name!r} in project {project!r}",
            hint="hivemind volume snapshots shows them",
        )
    return found
