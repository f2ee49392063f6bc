"""Routines of the project's library, as jobs call them: `fetch`, or one version of it, `fetch@2`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from hivemind.errors import Invalid
from hivemind.model.job import JobSpec, Routine, Task


class Versions(Protocol):
    """`model.routine.LibraryRoutine` is one."""

    @property
    def number(self) -> int: ...

    @property
    def versions(self) -> Mapping[str, Routine]: ...


Library = Mapping[str, Versions]
"""By name."""


def called(uses: str, own: Mapping[str, Routine], library: Library | None) -> Routine | None:
    """The routine that a call means: the job's own before the library's. None: there is none."""
    if uses in own:
        return own[uses]
    name, at, number = uses.partition("@")
    if library is None or name not in library:
        return None
    return library[name].versions.get(number if at else str(library[name].number))


def resolve(spec: JobSpec, library: Library) -> JobSpec:
    """The job with every library routine that it calls, directly or not, among its own, under `name@version`.

    Raises `Invalid` for a call of what is not there."""
    routines = dict(spec.routines)
    fresh: list[str] = []

    def named(uses: str, own: Mapping[str, Routine]) -> str:
        if uses in own:
            return uses
        routine = called(uses, {}, library)
        name, at, _ = uses.partition("@")
        if routine is None:
            raise Invalid(f"there is no routine {uses!r}", hint="see `hivemind get routines`")
        key = uses if at else f"{name}@{library[name].number}"
        if key not in routines:
            routines[key] = routine
            fresh.append(key)
        return key

    def within(routine: Routine, own: Mapping[str, Routine]) -> Routine:
        steps = tuple(
            step if step.uses is None else msgspec.structs.replace(step, uses=named(step.uses, own))
            for step in routine.steps
        )
        return msgspec.structs.replace(routine, steps=steps)

    def tasks(given: Mapping[str, Task]) -> dict[str, Task]:
        return {name: task(one) for name, one in given.items()}

    def task(given: Task) -> Task:
        steps = tuple(
            step if step.uses is None else msgspec.structs.replace(step, uses=named(step.uses, spec.routines))
            for step in given.steps
        )
        return msgspec.structs.replace(
            given,
            uses=None if given.uses is None else named(given.uses, spec.routines),
            steps=steps,
            tasks=tasks(given.tasks),
            finally_=tasks(given.finally_),
            on_failure=tasks(given.on_failure),
            on_success=tasks(given.on_success),
        )

    if not _calls_library(spec):
        return spec
    found = msgspec.structs.replace(
        spec,
        tasks=tasks(spec.tasks),
        finally_=tasks(spec.finally_),
        on_failure=tasks(spec.on_failure),
        on_success=tasks(spec.on_success),
    )
    for name, routine in spec.routines.items():
        routines[name] = within(routine, spec.routines)
    while fresh:  # a library may hold a chain of any length
        key = fresh.pop()
        routines[key] = within(routines[key], {})
    return msgspec.structs.replace(found, routines=routines)


def _calls_library(spec: JobSpec) -> bool:
    return bool(calls(spec) - set(spec.routines))


def calls(spec: JobSpec) -> set[str]:
    """What all tasks and routines of the job call, as they write it."""
    found = {step.uses for routine in spec.routines.values() for step in routine.steps if step.uses}
    waiting = [spec.tasks, spec.finally_, spec.on_failure, spec.on_success]
    while waiting:
        for task in waiting.pop().values():
            found |= {step.uses for step in task.steps if step.uses}
            found |= {task.uses} if task.uses else set()
            waiting += [task.tasks, task.finally_, task.on_failure, task.on_success]
    return found
