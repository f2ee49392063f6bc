"""What the types alone cannot say of a job."""

from __future__ import annotations

from hivemind.errors import Invalid
from hivemind.jobs.definition.checks import (
    bodies,
    expressions,
    needs,
    places,
    routines,
    scripts,
    sizes,
    triggers,
)
from hivemind.jobs.definition.checks.spots import groups
from hivemind.jobs.definition.finding import MOST, Findings
from hivemind.jobs.definition.sound import fingerprint, is_sound, note_sound
from hivemind.jobs.library import Library
from hivemind.jobs.plan import Plan
from hivemind.model.job import JobSpec


def check(spec: JobSpec, findings: Findings, library: Library | None) -> None:
    """All mistakes; `library` is the project's routines, or None where they are not at hand."""
    known = fingerprint(spec)
    if is_sound(known, library):
        return
    before = len(findings.found)
    _look_through(spec, findings, library)
    if len(findings.found) == before < MOST:
        note_sound(known, library)


def _look_through(spec: JobSpec, findings: Findings, library: Library | None) -> None:
    found = list(groups(spec))
    if not spec.tasks:
        findings.add(("spec", "tasks"), "the job has no tasks", "write tasks: {hello: {run: echo hello}}")
    for group in found:
        bodies.check(group, findings)
        scripts.check_group(group, findings)
        places.check(group, findings)
    scripts.check_routines(spec, findings)
    places.check_circuits(spec, findings)
    needs.check(found, findings)
    sizes.check(found, findings)
    routines.check_inputs(spec.inputs, ("spec", "inputs"), findings)
    expressions.check(spec, found, findings)
    routines.check(spec, found, library, findings)
    triggers.check(spec, findings)
    if not findings.found:
        _plan(spec, findings)


def _plan(spec: JobSpec, findings: Findings) -> None:
    """Whatever a run would refuse is refused here."""
    try:
        Plan(spec)
    except Invalid as error:
        findings.add_error(("spec", "tasks"), error)
