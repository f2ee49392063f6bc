"""The project's library of routines."""

from __future__ import annotations

from msgspec.structs import replace

from hivemind.errors import Conflict, NotFound
from hivemind.jobs.library import Library, calls
from hivemind.model.principal import Principal
from hivemind.model.routine import LibraryRoutine
from hivemind.state.operations import DeleteRoutine, PutRoutine
from hivemind.state.projects import check_version, known
from hivemind.state.state import Outcome, State


def library(state: State, project: str) -> Library:
    """By name."""
    return {routine.name: routine for routine in state.routines.values() if routine.project == project}


def put(state: State, operation: PutRoutine, who: Principal) -> Outcome:
    """Another body makes another version; jobs keep the version that they were put with."""
    manifest, project = operation.manifest, known(state, operation.project)
    key = f"{project}/{manifest.name}"
    old = state.routines.get(key)
    if old and operation.create_only:
        raise Conflict(
            f"there is already a routine {manifest.name!r}",
            hint="put it to change it, or choose another name",
        )
    check_version(operation.if_version, old.version if old else 0)
    _check_calls(state, operation, key)
    if old is None:
        new = LibraryRoutine(
            project=project, name=manifest.name, labels=manifest.labels, number=1,
            versions={"1": manifest.spec}, version=1, created=state.time, updated=state.time,
        )  # fmt: skip
    else:
        new = _changed(state, old, operation)
    state.tables.put(state.routines, key, new)
    return Outcome(id=key, version=new.version)


def _changed(state: State, old: LibraryRoutine, operation: PutRoutine) -> LibraryRoutine:
    manifest = operation.manifest
    new = replace(old, labels=manifest.labels)
    if old.versions[str(old.number)] != manifest.spec:
        number = old.number + 1
        new = replace(new, number=number, versions={**old.versions, str(number): manifest.spec})
    return new if new == old else replace(new, version=old.version + 1, updated=state.time)


def _check_calls(state: State, operation: PutRoutine, key: str) -> None:
    """It may call others of the library, but nothing that would lead back to it."""
    waiting = [(operation.manifest.name, operation.manifest.spec)]
    seen = set()
    while waiting:
        caller, routine = waiting.pop()
        for uses in sorted({step.uses for step in routine.steps if step.uses}):
            name, _, number = uses.partition("@")
            if name == operation.manifest.name:
                raise Conflict(
                    f"routine {name!r} would call itself, by way of {caller}", hint="take that call away"
                )
            other = state.routines.get(f"{operation.project}/{name}")
            found = other.versions.get(number or str(other.number)) if other else None
            if found is None:
                raise NotFound(f"there is no routine {uses!r}", hint="hivemind get routines shows them")
            if uses not in seen:
                seen.add(uses)
                waiting.append((uses, found))


def delete(state: State, operation: DeleteRoutine, who: Principal) -> Outcome:
    key = f"{operation.project}/{operation.name}"
    old = state.routines.get(key)
    if old is None:
        raise NotFound(
            f"there is no routine {operation.name!r} in project {operation.project!r}",
            hint="hivemind get routines shows them",
        )
    check_version(operation.if_version, old.version)
    users = callers(state, operation.project, operation.name)
    if users:
        raise Conflict(
            f"routine {operation.name!r} is called by {', '.join(users[:5])}",
            hint="put these without it, or remove them, first",
        )
    state.tables.remove(state.routines, key)
    return Outcome(id=key)


def callers(state: State, project: str, name: str) -> list[str]:
    """Jobs and routines of the project that call any version of it."""
    found = [f"job {job}" for job in calling_jobs(state, project, name)]
    for routine in library(state, project).values():
        newest = routine.versions[str(routine.number)]
        if any((step.uses or "").partition("@")[0] == name for step in newest.steps):
            found.append(f"routine {routine.name}")  # type: ignore[attr-defined]
    return sorted(found)


def calling_jobs(state: State, project: str, name: str) -> list[str]:
    """Names of the jobs of the project that do. Calls of the library are resolved to `name@version`; what a job
    defines itself has no version."""
    found = []
    for job in state.jobs.values():
        if job.project == project:
            spec = state.job_spec(job)
            if any(uses.startswith(f"{name}@") for uses in calls(spec) | spec.routines.keys()):
                found.append(job.name)
    return sorted(found)
