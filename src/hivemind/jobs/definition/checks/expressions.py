"""Every expression can be read, and everything that it speaks of is there."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

from hivemind.errors import Invalid
from hivemind.jobs import expression
from hivemind.jobs.definition.checks.spots import Group, Spot, spots
from hivemind.jobs.definition.finding import Findings, Path, did_you_mean
from hivemind.jobs.plan import Role
from hivemind.model.job import JobSpec, OutputSpec, Step, Task

Seen = dict[Group, ChainMap[str, Any]]
Known = Mapping[str, Any]
"""Name -> what may come behind its dot: names, or a further mapping of them; None: anything."""
RUN = frozenset({"id", "name", "number", "job", "project", "due", "attempt", "trigger", "by"})
_TOLD = ("result", "state", "outputs", "exit_code")


def check(spec: JobSpec, all_groups: list[Group], findings: Findings) -> None:
    job: dict[str, Any] = {"inputs": set(spec.inputs), "run": RUN, "event": None}
    _values(spec.env, ("spec", "env"), job, findings)
    whole = {**job, "tasks": {name: _told(task) for name, task in spec.tasks.items()}}
    _outputs(spec.outputs, ("spec", "outputs"), whole, "group", findings)
    if spec.concurrency:
        verify(spec.concurrency.key, ("spec", "concurrency", "key"), job, findings, templates=True)
    seen = _seen(all_groups)
    for group in all_groups:
        for spot in spots(group):
            _spot(spot, job, seen, findings)


def verify(value: Any, path: Path, known: Known, findings: Findings, *, templates: bool = False) -> None:
    """One expression, or with `templates` a value in which there may be some."""
    for place, text in _each(value, path):
        if templates and "${{" not in text:
            continue
        try:
            expression.check(text, templates=templates)
        except Invalid as error:
            findings.add_error(place, error)
            continue
        for reference in sorted(expression.references(text, templates=templates)):
            _reference(reference, place, known, findings)


def _each(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _each(one, (*path, key))
    elif isinstance(value, list | tuple):
        for number, one in enumerate(value):
            yield from _each(one, (*path, number))


def _reference(reference: tuple[str, ...], path: Path, known: Known, findings: Findings) -> None:
    inner: Any = known
    for depth, step in enumerate(reference):
        if inner is None:
            return
        if step not in inner:
            before = ".".join(reference[:depth])
            hint = did_you_mean(step, inner)
            if not before:
                message = f"'{step}' is not known here"
                hint = _ABSENT.get(step, hint)
            elif before == "needs":
                message = f"{step} is not among its needs"
                hint = hint if hint.startswith("did") else f"add it: needs: [{step}]"
            else:
                message = f"{before} has no '{step}'"
                hint = hint or ("declare it under inputs" if before == "inputs" else "")
            findings.add(path, message, hint)
            return
        inner = inner[step] if isinstance(inner, Mapping) else None


_ABSENT = {
    "matrix": "only a task with a matrix, or within a group that has one, has values of it",
    "item": "only a task with for_each, or within a group that has it, has an item",
    "index": "only a task with a matrix or for_each has an index",
    "needs": "it needs nothing: write needs first",
    "steps": "only later steps of the same task know what a step wrote",
    "secrets": "take secrets by env: {NAME: {secret: db, key: password}}",
    "env": "write $NAME in the script; expressions do not see variables",
    "github": "write run, inputs or event",
    "vars": "write inputs",
}


def _spot(spot: Spot, job: Known, seen: Seen, findings: Findings) -> None:
    task, path = spot.task, spot.path
    beside = _beside(spot, seen)
    outer = {**job, **beside, **_member(spot, own=False)}
    inner = {**outer, **_member(spot, own=True)}
    if task.if_:  # one that speaks of the item is of each member
        verify(task.if_, (*path, "if"), inner, findings)
    for name in ("matrix", "include", "for_each"):
        if isinstance(getattr(task, name), list | tuple | dict | str):
            verify(getattr(task, name), (*path, name), outer, findings, templates=not _bare(task, name))
    for name, value in _templates(task):
        verify(value, (*path, name), inner, findings, templates=True)
    for name in ("concurrency", "rate"):
        if (limit := getattr(task, name)) is not None:
            verify(limit.key, (*path, name, "key"), inner, findings, templates=True)
    steps(task.steps, (*path, "steps"), inner, findings)
    own: dict[str, Any] = {**inner, "outputs": None}
    if task.tasks:
        inside = {name: _told(one) for name, one in task.tasks.items()}
        own = {**own, "tasks": ChainMap(inside, *seen[spot.group].maps)}
    _outputs(task.outputs, (*path, "outputs"), own, spot.role, findings)


def _bare(task: Task, name: str) -> bool:
    """`for_each: needs.list.outputs.names` is an expression without its braces."""
    return name == "for_each" and isinstance(task.for_each, str)


def _templates(task: Task) -> Iterable[tuple[str, Any]]:
    yield "image", task.image
    yield "env", task.env
    yield "command", task.command or ()
    yield "with", task.with_
    yield "options", task.options
    if task.approval:
        yield "approval", {"message": task.approval.message}


def _values(value: Mapping[str, str], path: Path, known: Known, findings: Findings) -> None:
    verify(value, path, known, findings, templates=True)


def _outputs(
    outputs: Mapping[str, OutputSpec], path: Path, known: Known, role: Role, findings: Findings
) -> None:
    for name, output in outputs.items():
        if role != "task" and output.file:
            hint = (
                "let a task of it declare the file, and take it from there: value: tasks.<id>.outputs.<name>"
            )
            findings.add((*path, name), f"the output {name} is a file, and only tasks have files", hint)
        elif role == "group" and not output.value:
            hint = "say where it comes from: value: tasks.<id>.outputs.<name>"
            findings.add((*path, name), f"the output {name} has no value", hint)
        if output.value and output.file:
            findings.add((*path, name), f"the output {name} has a value and a file", "leave one of them out")
        elif output.value:
            verify(output.value, (*path, name, "value"), known, findings)


def _beside(spot: Spot, seen: Seen) -> dict[str, Any]:
    tasks = seen[spot.group]
    needs = set(spot.task.needs)
    if before := spot.group.before.get(spot.id):
        needs.add(before)
    return {"tasks": tasks, "needs": {name: tasks.get(name) for name in needs}} if needs else {"tasks": tasks}


def _seen(all_groups: list[Group]) -> Seen:
    """For each group the tasks that are seen from within it, and what can be known of them."""
    found: Seen = {}
    for group in all_groups:  # outer ones come first
        own = {name: _told(task) for name, task in group.tasks.items()}
        found[group] = ChainMap(own, *(found[group.around].maps if group.around else ()))
    return found


def _told(task: Task) -> dict[str, Any]:
    """What can be known of a task by others. Of outputs, those that it declares; undeclared ones are not looked at."""
    fans = bool(task.matrix or task.include) or task.for_each is not None
    declared: Set[str] | None = set(task.outputs) or None
    return {**dict.fromkeys(_TOLD), "outputs": declared, **({"results": None} if fans else {})}


def _member(spot: Spot, *, own: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in (spot, *spot.around) if own else spot.around:
        if not one.fans:
            continue
        found |= {"index": None, "total": None}
        if one.task.for_each is not None:
            found["item"] = None
        else:
            names = set(one.task.matrix) | {name for each in one.task.include for name in each}
            found["matrix"] = found.get("matrix", set()) | names
    return found


def steps(
    given: Iterable[Step], path: Path, known: Known, findings: Findings, later: Set[str] = frozenset()
) -> dict[str, Any]:
    """Steps in their order: each knows those before it. `later` are inputs whose values only a step tells.
    What the steps tell is returned."""
    told: dict[str, Any] = {}
    every = [step.id for step in given if step.id]
    for number, step in enumerate(given):
        where = (*path, number)
        if step.id and step.id in told:
            findings.add((*where, "id"), f"two steps are called {step.id}", "give each its own id")
        for name in ("env", "with"):
            value = step.env if name == "env" else step.with_
            here = {**known, "steps": {**told, **dict.fromkeys(every)}} if every else known
            _early(value, (*where, name), set(every) - set(told), findings)
            verify(value, (*where, name), here, findings, templates=True)
            whole_only(value, (*where, name), later, findings)
        if step.with_ and step.uses is None:
            findings.add(
                (*where, "with"), "'with' is of a call of a routine", "give commands values by env", key=True
            )
        if step.shell != "sh" and step.run is None:
            findings.add((*where, "shell"), "'shell' is of a run", "leave it out", key=True)
        if step.id:
            told[step.id] = {"outputs": None}
    return told


def _early(value: Any, path: Path, others: set[str], findings: Findings) -> None:
    for place, text in _each(value, path):
        try:
            found = expression.references(text, templates=True)
        except Invalid:
            continue
        for reference in found:
            if reference[0] == "steps" and len(reference) > 1 and reference[1] in others:
                findings.add(place, f"the step {reference[1]} has not run by then", "move it before this one")


def whole_only(value: Any, path: Path, later: Set[str], findings: Findings) -> None:
    """What a step wrote is passed on whole by the node; nothing can be computed with it before."""
    from hivemind.jobs.script import whole_path

    top = list(value.items()) if isinstance(value, Mapping) else [("", value)]
    for name, one in top:
        if whole_path(one) is not None:
            continue
        for place, text in _each(one, (*path, name) if name else path):
            try:
                found = expression.references(text, templates=True)
            except Invalid:
                continue
            for reference in sorted(found):
                if reference[0] == "steps" or (
                    reference[0] == "inputs" and reference[1:2] and reference[1] in later
                ):
                    findings.add(
                        place, f"{'.'.join(reference)} is told by a step, and can only be passed on whole",
                        "write ${{ " + ".".join(reference) + " }} alone, and let the commands do the rest",
                    )  # fmt: skip
