"""What operations do to projects."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from hivemind.errors import Conflict, Forbidden, NotFound, Stale
from hivemind.model.names import DEFAULT_PROJECT
from hivemind.model.principal import Principal
from hivemind.model.project import Project
from hivemind.state.operations import DeleteProject, PutProject
from hivemind.state.state import Outcome, State
from hivemind.state.tables import Table


def put(state: State, operation: PutProject, who: Principal) -> Outcome:
    manifest = operation.manifest
    old = state.projects.get(manifest.name)
    check_version(operation.if_version, old.version if old else 0)
    permissions = tuple(sorted(set(manifest.permissions)))
    if old is None:
        new = Project(
            name=manifest.name,
            labels=manifest.labels,
            permissions=permissions,
            weight=manifest.weight,
            max_tasks=manifest.max_tasks,
            created=state.time,
            updated=state.time,
        )
    else:
        new = replace(
            old, labels=manifest.labels, permissions=permissions,
            weight=manifest.weight, max_tasks=manifest.max_tasks,
        )  # fmt: skip
        if new != old:
            new = replace(new, version=old.version + 1, updated=state.time)
    state.tables.put(state.projects, new.name, new)
    return Outcome(id=new.name, version=new.version)


def delete(state: State, operation: DeleteProject, who: Principal) -> Outcome:
    old = state.projects.get(operation.name)
    if old is None:
        raise NotFound(f"there is no project {operation.name!r}", hint="hivemind project ls shows them")
    check_version(operation.if_version, old.version)
    if old.name == DEFAULT_PROJECT:
        raise Forbidden("the default project cannot be removed", hint="its apps can: hivemind app rm NAME")
    apps = [app.name for app in state.apps.values() if app.project == old.name]
    if apps:
        raise Conflict(
            f"project {old.name!r} still has {len(apps)} app{'s' if len(apps) != 1 else ''}: {', '.join(apps[:5])}",
            hint=f"remove them first: hivemind app rm --project {old.name} NAME",
        )
    volumes = [v.name for v in state.volumes.values() if v.project == old.name]
    volumes += [s.name for s in state.snapshots.values() if s.project == old.name]
    if volumes:
        raise Conflict(
            f"project {old.name!r} still has volumes or snapshots: {', '.join(volumes[:5])}",
            hint=f"remove them first: hivemind volume rm --project {old.name} NAME",
        )
    contents = [f"{b.kind} {b.name}" for b in state.bundles.values() if b.project == old.name]
    if contents:
        raise Conflict(
            f"project {old.name!r} still holds {', '.join(contents[:5])}",
            hint=f"remove them first: hivemind secret rm --project {old.name} NAME",
        )
    _check_jobs(state, old.name)
    for key in [key for key, target in state.backup_targets.items() if target.project == old.name]:
        state.tables.remove(state.backup_targets, key)
    _forget_work(state, old.name)
    state.tables.remove(state.projects, old.name)
    return Outcome(id=old.name)


def _check_jobs(state: State, project: str) -> None:
    jobs = [job.name for job in state.jobs.values() if job.project == project]
    if jobs:
        raise Conflict(
            f"project {project!r} still has {len(jobs)} job{'s' if len(jobs) != 1 else ''}: {', '.join(jobs[:5])}",
            hint=f"remove them first: hivemind job rm --project {project} NAME",
        )
    live = [run.name for run in state.runs.values() if run.project == project and not run.state.ended]
    if live:
        raise Conflict(
            f"{live[0]} of project {project!r} has not ended", hint="wait until what was canceled has stopped"
        )


def _forget_work(state: State, project: str) -> None:
    """Ended runs of removed jobs, and what else was kept for jobs."""
    from hivemind.state.jobs.keeping import forget

    for run in [run for run in state.runs.values() if run.project == project]:
        forget(state, run)
    tables: list[Table[Any]] = [state.routines, state.circuits, state.queues, state.notices, state.starts]
    for table in tables:
        for key in [key for key, record in table.items() if record.project == project]:
            state.tables.remove(table, key)


def check_version(wanted: int | None, found: int) -> None:
    """The `If-Match` of a write. 0 stands for an object that is not there."""
    if wanted is not None and wanted != found:
        raise Stale(
            f"you changed version {wanted}, but it is at version {found}"
            if found
            else "it is not there any more",
            hint="read it again and repeat your change",
        )


def known(state: State, name: str) -> str:
    """The name of a project that is there. Raises `NotFound`."""
    if name not in state.projects:
        raise NotFound(f"there is no project {name!r}", hint=f"hivemind project create {name}")
    return name
