"""How large a definition may be, and matrices whose combinations are known."""

from __future__ import annotations

from math import prod
from typing import Any

from hivemind.jobs.definition.checks.spots import Group, Spot, spots
from hivemind.jobs.definition.finding import Findings, did_you_mean

MOST_TASKS = 10_000
DEEPEST = 10
MOST_COMBINATIONS = 10_000


def check(all_groups: list[Group], findings: Findings) -> None:
    total = sum(len(group.tasks) for group in all_groups)
    if total > MOST_TASKS:
        findings.add(
            ("spec", "tasks"), f"the job has {total:,} tasks, and {MOST_TASKS:,} is the most",
            "let one task fan out with for_each",
        )  # fmt: skip
    for group in all_groups:
        if (deep := _depth(group)) == DEEPEST + 1:
            findings.add(group.path[:-1], f"groups are nested {deep} deep, and {DEEPEST} is the most",
                         "make the inner one a job of its own")  # fmt: skip
        for spot in spots(group):
            _matrix(spot, findings)
            _fan_out(spot, findings)


def _depth(group: Group) -> int:
    depth, around = 1, group.around
    while around is not None:
        depth, around = depth + 1, around.around
    return depth


def _matrix(spot: Spot, findings: Findings) -> None:
    task = spot.task
    known = True
    for name, values in task.matrix.items():
        path = (*spot.path, "matrix", name)
        if isinstance(values, str) and "${{" in values:
            known = False
        elif not isinstance(values, list):
            known = False
            findings.add(path, f"the values of {name} are a list, or an expression that gives one",
                         "write it like [a, b] or ${{ needs.list.outputs.names }}")  # fmt: skip
        elif not values:
            findings.add(
                path, f"{name} has no values, so nothing would be run", "give it some, or take it out"
            )
    if known and task.matrix:
        size = prod(len(values) for values in task.matrix.values())
        if size > MOST_COMBINATIONS:
            findings.add((*spot.path, "matrix"), f"the matrix has {size:,} combinations, and "
                         f"{MOST_COMBINATIONS:,} is the most", "use fewer values")  # fmt: skip
    for key, some in (("include", task.include), ("exclude", task.exclude)):
        _alterations(spot, key, some, findings)


def _alterations(spot: Spot, key: str, some: tuple[dict[str, Any], ...], findings: Findings) -> None:
    matrix = spot.task.matrix
    for number, one in enumerate(some):
        for name in one:
            path = (*spot.path, key, number, name)
            if key == "exclude" and name not in matrix:
                findings.add(path, f"the matrix has no '{name}'", did_you_mean(name, matrix), key=True)
            elif key == "exclude" and isinstance(matrix[name], list) and one[name] not in matrix[name]:
                findings.add(path, f"'{name}' never has that value, so nothing is left out", "")
    if some and not matrix and key == "exclude":
        findings.add((*spot.path, key), "there is no matrix to leave anything out of", "", key=True)


def _fan_out(spot: Spot, findings: Findings) -> None:
    task = spot.task
    if task.for_each is not None and (task.matrix or task.include):
        findings.add((*spot.path, "for_each"), "a task has a matrix or for_each, not both",
                     "make the list a name of the matrix", key=True)  # fmt: skip
    if task.for_each is not None and not isinstance(task.for_each, str | list):
        findings.add((*spot.path, "for_each"), "'for_each' is a list, or an expression that gives one",
                     "write it like [a, b] or ${{ needs.list.outputs.names }}")  # fmt: skip
    if isinstance(task.for_each, list) and len(task.for_each) > MOST_COMBINATIONS:
        findings.add((*spot.path, "for_each"), f"{len(task.for_each):,} are too many written out",
                     "let a task before it make the list")  # fmt: skip
    if task.max_parallel and not spot.fans:
        findings.add((*spot.path, "max_parallel"), "'max_parallel' is of a matrix or for_each, and there is none",
                     "for groups write concurrency", key=True)  # fmt: skip
