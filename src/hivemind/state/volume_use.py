"""Volumes as they are used: which apps and replicas mount them, and where that ties these to."""

from __future__ import annotations

from collections.abc import Iterator

from hivemind.errors import Conflict, NotFound
from hivemind.model.allocation import Allocation
from hivemind.model.app import App
from hivemind.model.mount import VolumeMount
from hivemind.model.volume import Volume, key, name_of, volume_mounts
from hivemind.state.state import State
from hivemind.state.storage import storage_class


def mentioned_by(state: State, volume: Volume) -> list[str]:
    """Apps whose wanted revision mounts it, running or not. A replica's own volume counts although its slot may
    be scaled away: it is wanted again when the app grows."""
    return sorted({app.name for app in apps_of(state, volume.project) if _mentions(state, app, volume.name)})


def held_by(state: State, volume: Volume) -> list[str]:
    """Replicas (`db.0`) that have it mounted, or will as soon as they start."""
    return sorted({f"{a.app_name}.{a.slot}" for a in holders(state, volume)})


def holders(state: State, volume: Volume) -> Iterator[Allocation]:
    for allocation in state.allocations.values():
        if allocation.live and allocation.node and allocation.project == volume.project:
            mounts = volume_mounts(state.spec_of(allocation))
            if any(name_of(mount, allocation.slot) == volume.name for mount in mounts):
                yield allocation


def apps_of(state: State, project: str) -> Iterator[App]:
    return (app for app in state.apps.values() if app.project == project and not app.deleted)


def _mentions(state: State, app: App, name: str) -> bool:
    return any(_means(mount, name) for mount in volume_mounts(state.revision(app.id, app.revision).spec))


def _means(mount: VolumeMount, name: str) -> bool:
    if not mount.per_replica:
        return mount.source == name
    base, _, slot = name.rpartition("-")
    return base == mount.source and slot.isdigit()


def needs(state: State, app: App, name: str) -> bool:
    """One of its present replicas mounts it."""
    slots = range(app.replicas)
    return any(
        mount.source == name if not mount.per_replica else any(name_of(mount, slot) == name for slot in slots)
        for mount in volume_mounts(state.revision(app.id, app.revision).spec)
        if _means(mount, name)
    )


def must_be_free(state: State, volume: Volume, what: str) -> None:
    """Raises `Conflict` naming the replicas that use it, and what therefore cannot be done."""
    users = held_by(state, volume)
    if users:
        app = users[0].rpartition(".")[0]
        raise Conflict(
            f"volume {volume.name!r} is used by {', '.join(users[:5])}, so it cannot be {what}",
            hint=f"stop it first: hivemind app stop {app}",
        )


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


def find_volume(state: State, project: str, name: str) -> Volume:
    found = state.volumes.get(key(project, name))
    if found is None:
        raise NotFound(
            f"there is no volume {name!r} in project {project!r}", hint="hivemind volume ls shows them"
        )
    return found
