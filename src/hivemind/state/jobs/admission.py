"""May this become a definition? Asked whenever a job is put: what could never run is refused before it is agreed."""

from __future__ import annotations

from msgspec.structs import replace

from hivemind.errors import Invalid
from hivemind.jobs import schedule as times
from hivemind.jobs.definition import as_error
from hivemind.jobs.definition.checks import check
from hivemind.jobs.definition.finding import Findings
from hivemind.jobs.inputs import bind
from hivemind.jobs.order import spec_of
from hivemind.jobs.plan import Plan
from hivemind.model.app import AppSpec
from hivemind.model.image import parse_reference
from hivemind.model.job import JobSpec, Task
from hivemind.model.mount import BindMount
from hivemind.scheduler.filters.constraints import parse_constraint
from hivemind.state.jobs.routines import library
from hivemind.state.jobs.using import references
from hivemind.state.permissions import check_permissions
from hivemind.state.pins import exists
from hivemind.state.state import State

_SOME_IMAGE = "image"
"""Stands for an image that is known only when the task runs."""


def admit(state: State, project: str, spec: JobSpec) -> None:
    """Raises what speaks against it."""
    found = Findings()
    check(spec, found, library(state, project))
    if found.found:
        raise as_error(found.found)
    for node in Plan.of(spec).nodes.values():
        if node.role == "task":
            _admit_task(state, project, node.path, node.task)
    for schedule in spec.triggers.schedule:
        times.check(schedule)
        bind(spec.inputs, schedule.inputs)
    _check_files(state, project, spec)
    for reference in references(spec):
        exists(state, project, reference)


def _admit_task(state: State, project: str, path: str, task: Task) -> None:
    image = _SOME_IMAGE if "${{" in task.image else task.image
    if image:
        parse_reference(image)
    spec = replace(spec_of(task, image), command=task.command or ("true",), entrypoint=task.entrypoint)
    try:
        spec.validate()
        for text in spec.constraints:
            parse_constraint(text)
    except Invalid as error:
        raise Invalid(f"task {path}: {error.message}", hint=error.hint) from None
    check_permissions(state, project, spec if task.executor == "hive" else replace(spec, runtime="process"))


def _check_files(state: State, project: str, spec: JobSpec) -> None:
    """A pattern of the node's own files looks where the project may otherwise not."""
    for trigger in spec.triggers.file:
        if not trigger.volume:
            mount = BindMount(source=trigger.path, target="/watched")
            check_permissions(state, project, AppSpec(image=_SOME_IMAGE, mounts=(mount,)))
