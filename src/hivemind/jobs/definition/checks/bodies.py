"""What each task does: exactly one thing; and nothing is said that means nothing for it."""

from __future__ import annotations

import msgspec

from hivemind.jobs.definition.checks.spots import HOOKS, Group, Spot, spots
from hivemind.jobs.definition.finding import Findings
from hivemind.model.job import Task

_BODIES = ("run", "steps", "uses", "job", "approval", "tasks")
_WHERE = {
    "image", "pull", "entrypoint", "command", "env_from", "user", "workdir", "mounts", "resources", "nodes",
    "share_nodes", "isolation", "network", "runtime", "constraints", "executor", "options", "stop", "shell",
    "retry", "rate", "preemptible", "circuits", "artifacts",
}  # fmt: skip
_MEANINGLESS = {
    "group": _WHERE - {"retry"} | {"with", "concurrency"},
    "approval": _WHERE | {"with", "env", "concurrency", "priority", "outputs", "sequence", "order", *HOOKS},
    "job": _WHERE - {"retry"} | {"env", "concurrency", "sequence", "order", *HOOKS},
    "task": {"sequence", "order", *HOOKS},
}
_NOUNS = {
    "group": "a group",
    "approval": "an approval",
    "job": "a call of another job",
    "task": "a single task",
}
_FIELDS = {field.encode_name: field for field in msgspec.structs.fields(Task)}


def check(group: Group, findings: Findings) -> None:
    for spot in spots(group):
        if spot.id in HOOKS:
            findings.add(spot.path, f"a task cannot be called {spot.id}", "the name is taken", key=True)
        _one_body(spot, findings)
        _meaningless(spot, findings)
    if group.order and sorted(group.order) != sorted(group.tasks):
        findings.add(
            (*group.path[:-1], "order"), "'order' does not name each task of the sequence once",
            f"there are {', '.join(group.tasks)}",
        )  # fmt: skip


def said(task: Task, name: str) -> bool:
    """Whether that field has another value than its default."""
    field = _FIELDS[name]
    value = getattr(task, field.name)
    default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    return bool(value != default)


def _one_body(spot: Spot, findings: Findings) -> None:
    found = [name for name in _BODIES if said(spot.task, name)]
    command = [name for name in ("command", "entrypoint") if said(spot.task, name)]
    if len(found) > 1 or (found and command):
        first, second, *_ = [*found, *command]
        findings.add(
            (*spot.path, second), f"the task {spot.id} has both '{first}' and '{second}'",
            "a task does one thing: make it two tasks, or steps of one", key=True,
        )  # fmt: skip
    elif not found and not command and not spot.task.image:
        findings.add(
            spot.path, f"the task {spot.id} does nothing",
            f"give it one of {', '.join(_BODIES)}, or an image", key=True,
        )  # fmt: skip
    for number, step in enumerate(spot.task.steps):
        if (step.run is None) == (step.uses is None):
            what = "nothing" if step.run is None else "two things"
            findings.add((*spot.path, "steps", number), f"the step does {what}", "give it run, or uses")


def _meaningless(spot: Spot, findings: Findings) -> None:
    names = set(_MEANINGLESS[spot.role])
    if spot.role == "task":
        if spot.task.uses is None:
            names.add("with")
        if spot.task.run is None:
            names.add("shell")
        if not spot.task.image:
            names.add("pull")
    if spot.role != "group" and not spot.fans:
        names.add("fail_fast")
    for name in sorted(names):
        if not said(spot.task, name):
            continue
        what, hint = _NOUNS[spot.role], "leave it out, or write it in the tasks of the group"
        if name == "with":
            hint = "values are passed to a routine (uses) or a job; commands get them by env"
        elif name == "shell":
            what, hint = "a task without run", "steps and routines each name their own"
        elif name == "pull" and spot.role == "task":
            what, hint = "a task without image", "leave it out, or name an image"
        elif name == "fail_fast":
            hint = "it is of a group, a matrix or for_each: what one that fails does to the others"
        elif name == "concurrency" and spot.role == "job":
            hint = "give it to that other job: there it limits its runs"
        elif spot.role != "group":
            hint = "leave it out" if spot.role != "task" else "only groups have it: write tasks"
        findings.add((*spot.path, name), f"'{name}' means nothing for {what}", hint, key=True)
