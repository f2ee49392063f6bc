"""Volumes as they are used: which apps and replicas mount them, and where that ties these to."""

from __future__ import annotations

from collections.abc import Iterator

from hivemind.errors import Conflict, NotFound
from hivemind.model.allocation import Allocation
from hivemind.model.app import App
from hivemind.model.mount import VolumeMount
from hivemind.model.revision import Revision
from hivemind.model.volume import Volume, key, name_of, volume_mounts
from hivemind.state.jobs import using
from hivemind.state.state import State
from hivemind.state.storage import storage_class


def mentioned_by(state: State, volume: Volume) -> list[str]:
    """Apps, and jobs, whose wanted revision mounts it, running or not. A replica's own volume counts although its slot
    may be scaled away: it is wanted again when the app grows."""
    return sorted([*(app.name for app in apps_of(state, volume)), *jobs_of(state, volume)])


def held_by(state: State, volume: Volume) -> list[str]:
    """Replicas (`db.0`) that have it mounted, or will as soon as they start."""
    return sorted({_holder(state, a) for a in holders(state, volume)})


def _holder(state: State, allocation: Allocation) -> str:
    if allocation.for_job:
        return f"{state.runs[allocation.run].name}.{allocation.path}"
    return f"{allocation.app_name}.{allocation.slot}"


def holders(state: State, volume: Volume) -> Iterator[Allocation]:
    for revision in _mounting(state, volume.name):
        for allocation in _mounted_in(state, revision, volume.name):
            ours = allocation.revision == revision.number and allocation.project == volume.project
            if ours and allocation.live and allocation.node and volume.name in wanted_by(state, allocation):
                yield allocation
    for id in state.work.attempts():
        allocation = state.allocations[id]
        if allocation.project == volume.project and volume.name in wanted_by(state, allocation):
            yield allocation


def jobs_of(state: State, volume: Volume) -> list[str]:
    """Names of the jobs whose newest definition mounts it."""
    return using.jobs_mounting(state, volume.project, {volume.name, _split(volume.name)[0]})


def apps_of(state: State, volume: Volume) -> list[App]:
    """Whose wanted revision mounts it."""
    apps = (state.wanting(revision, volume.project) for revision in _mounting(state, volume.name))
    return [app for app in apps if app]


def _mounting(state: State, name: str) -> list[Revision]:
    """Revisions, of any project, with a mount that means that volume, in whatever slot."""
    named = {(r.app, r.number): r for base in (name, _split(name)[0]) for r in state.mounting(base)}
    return [r for r in named.values() if any(_means(mount, name) for mount in volume_mounts(r.spec))]


def _mounted_in(state: State, revision: Revision, name: str) -> list[Allocation]:
    """Allocations of the slots of that app, of any revision, in which a mount of this one means that volume."""
    mounts = [mount for mount in volume_mounts(revision.spec) if _means(mount, name)]
    if all(mount.per_replica for mount in mounts):
        return state.allocations_in(revision.app, int(_split(name)[1]))
    return state.allocations_of(revision.app)


def _means(mount: VolumeMount, name: str) -> bool:
    if not mount.per_replica:
        return mount.source == name
    base, slot = _split(name)
    return base == mount.source and slot.isdigit()


def _split(name: str) -> tuple[str, str]:
    """`data-3` is, where mounts are per replica, the volume `data` of slot 3."""
    base, _, slot = name.rpartition("-")
    return base, slot


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
        running = next((a for a in holders(state, volume) if a.for_job), None)
        stop = f"job cancel {state.runs[running.run].name}" if running else f"app stop {app}"
        raise Conflict(
            f"volume {volume.name!r} is used by {', '.join(users[:5])}, so it cannot be {what}",
            hint=f"stop it first: hivemind {stop}",
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
