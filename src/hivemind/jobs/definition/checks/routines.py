"""Routines and their calls: they are there, get what they ask for, and never call themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from hivemind.errors import Invalid
from hivemind.jobs.calls import MOST_STEPS, Calls, too_many
from hivemind.jobs.definition.checks import expressions
from hivemind.jobs.definition.checks.spots import Group, spots
from hivemind.jobs.definition.finding import Findings, Path, did_you_mean
from hivemind.jobs.inputs import check_value
from hivemind.jobs.library import Library, called
from hivemind.jobs.script import DEEPEST
from hivemind.model.job import Input, JobSpec, Routine

_SETTABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def check(spec: JobSpec, all_groups: list[Group], library: Library | None, findings: Findings) -> None:
    for name, routine in spec.routines.items():
        check_one(name, routine, ("spec", "routines", name), findings)
        for path, uses, given in _calls(routine, ("spec", "routines", name)):
            _call(path, uses, given, spec, library, findings)
    for group in all_groups:
        for spot in spots(group):
            if spot.task.uses is not None:
                _call(spot.path, spot.task.uses, spot.task.with_, spec, library, findings)
            for number, step in enumerate(spot.task.steps):
                place: Path = (*spot.path, "steps", number)
                settable(step.env, (*place, "env"), findings)
                if step.uses is not None:
                    _call(place, step.uses, step.with_, spec, library, findings)
    _recursion(spec, all_groups, findings)


def check_one(name: str, routine: Routine, path: Path, findings: Findings) -> None:
    """A routine by itself."""
    if (routine.run is None) == (not routine.steps):
        what = "does nothing" if routine.run is None else "has both 'run' and 'steps'"
        findings.add(path, f"the routine {name} {what}", "give it run, or steps", key=True)
    for number, step in enumerate(routine.steps):
        if (step.run is None) == (step.uses is None):
            what = "nothing" if step.run is None else "two things"
            findings.add((*path, "steps", number), f"the step does {what}", "give it run, or uses")
        settable(step.env, (*path, "steps", number, "env"), findings)
    check_inputs(routine.inputs, (*path, "inputs"), findings)
    settable(routine.env, (*path, "env"), findings)
    known = {"inputs": set(routine.inputs)}
    expressions.verify(routine.env, (*path, "env"), known, findings, templates=True)
    told = expressions.steps(routine.steps, (*path, "steps"), known, findings)
    for output, template in routine.outputs.items():
        where = (*path, "outputs", output)
        expressions.verify(template, where, {**known, "steps": told}, findings, templates=True)
        expressions.whole_only(template, where, frozenset(), findings)


def check_inputs(inputs: Mapping[str, Input], path: Path, findings: Findings) -> None:
    for name, one in inputs.items():
        if name.startswith("HIVEMIND_"):
            findings.add(
                (*path, name), "names that begin with HIVEMIND_ are taken", "call it otherwise", key=True
            )
        if one.required and one.default is not None:
            findings.add(
                (*path, name), f"the input {name} is required and has a default", "leave one of them out"
            )
        for word, value in (("default", one.default), *(("choices", choice) for choice in one.choices)):
            if value is not None and not (one.secret and word == "choices"):
                try:
                    check_value(name, value, one)
                except Invalid as error:
                    findings.add((*path, name, word), error.message, error.hint)
        if one.secret and one.default is not None:
            findings.add(
                (*path, name, "default"), f"the secret input {name} has a default that everyone can read",
                "take it from a secret: env: {NAME: {secret: db, key: password}}",
            )  # fmt: skip


def settable(env: Mapping[str, str], path: Path, findings: Findings) -> None:
    for name in env:
        if name.startswith("HIVEMIND_"):
            findings.add(
                (*path, name), "names that begin with HIVEMIND_ are taken", "call it otherwise", key=True
            )
        elif not _SETTABLE.match(name):
            findings.add((*path, name), f"a shell cannot set the variable {name}",
                         "use letters, digits and _, or write it in the env of the task", key=True)  # fmt: skip


def _calls(routine: Routine, path: Path) -> Iterator[tuple[Path, str, Mapping[str, Any]]]:
    for number, step in enumerate(routine.steps):
        if step.uses is not None:
            yield (*path, "steps", number), step.uses, step.with_


def _call(
    path: Path,
    uses: str,
    given: Mapping[str, Any],
    spec: JobSpec,
    library: Library | None,
    findings: Findings,
) -> None:
    name, at, number = uses.partition("@")
    if at and not number.isdigit():
        findings.add((*path, "uses"), f"{uses!r} names no version", f"write a number, like {name}@2")
        return
    routine = called(uses, spec.routines, library)
    if routine is None:
        if library is None and name not in spec.routines:
            return  # Only who has the library can tell.
        if library and name in library and at:
            versions = ", ".join(sorted(library[name].versions, key=int))
            findings.add((*path, "uses"), f"the routine {name} has no version {number}", f"it has {versions}")
        else:
            known = set(spec.routines) | set(library or ())
            findings.add((*path, "uses"), f"there is no routine '{uses}'",
                         did_you_mean(name, known) or "write it under routines")  # fmt: skip
        return
    for key in given:
        if key not in routine.inputs:
            hint = did_you_mean(key, routine.inputs) or "it has none"
            findings.add((*path, "with", key), f"the routine {uses} has no input '{key}'", hint, key=True)
    for key, declared in routine.inputs.items():
        if key not in given:
            if declared.required:
                findings.add(path, f"the routine {uses} needs the input {key}", f"write with: {{{key}: …}}")
        elif not _dynamic(given[key]):
            try:
                check_value(key, given[key], declared)
            except Invalid as error:
                findings.add((*path, "with", key), error.message, error.hint)


def _dynamic(value: Any) -> bool:
    if isinstance(value, str):
        return "${{" in value
    if isinstance(value, Mapping):
        return any(_dynamic(one) for one in value.values())
    return isinstance(value, list) and any(_dynamic(one) for one in value)


def _recursion(spec: JobSpec, all_groups: list[Group], findings: Findings) -> None:
    """Each circle once, shown whole."""
    calls = Calls(spec.routines)
    before = len(findings.found)
    for name, number, circle in calls.circles():
        path: Path = ("spec", "routines", name, "steps", number, "uses")
        findings.add(path, f"routines call each other without end: {' → '.join([*circle, circle[0]])}",
                     "let one of them do its work itself")  # fmt: skip
    if len(findings.found) > before:
        return
    for name, number in calls.too_deep():
        path = ("spec", "routines", name, "steps", number, "uses")
        findings.add(path, f"calls of routines are more than {DEEPEST} deep", "make one of them flatter")
    if len(findings.found) > before:
        return
    for group in all_groups:
        for spot in spots(group):
            if (count := calls.steps_of(spot.task)) > MOST_STEPS:
                findings.add(spot.path, *too_many(count))
