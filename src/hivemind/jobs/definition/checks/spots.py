"""Every task of a definition with where it stands, as the checks want to know it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from hivemind.jobs.definition.finding import Path
from hivemind.jobs.plan import Role, role_of
from hivemind.model.job import JobSpec, Task

HOOKS = ("finally", "on_failure", "on_success")


@dataclass(frozen=True, eq=False)
class Group:
    """Tasks that are beside each other: of a job, of a group, or of one of their hooks."""

    path: Path
    tasks: Mapping[str, Task]
    order: tuple[str, ...]
    """Of a sequence; otherwise empty."""
    owner: Spot | None
    around: Group | None
    hook: str = ""

    @cached_property
    def before(self) -> dict[str, str]:
        """Of a sequence: what comes before each."""
        return {after: before for before, after in pairwise(self.order)}

    def find(self, name: str) -> Group | None:
        """The group in which `name` is seen from here: this one, or the nearest around it."""
        group: Group | None = self
        while group is not None and name not in group.tasks:
            group = group.around
        return group

    def visible(self) -> set[str]:
        return set(self.tasks) | (self.around.visible() if self.around else set())


@dataclass(frozen=True, eq=False)
class Spot:
    id: str
    path: Path
    task: Task
    group: Group

    @property
    def role(self) -> Role:
        return role_of(self.task)

    @property
    def fans(self) -> bool:
        return bool(self.task.matrix or self.task.include) or self.task.for_each is not None

    @property
    def around(self) -> Iterator[Spot]:
        """The groups that it is in, from the innermost."""
        group: Group | None = self.group
        while group is not None:
            if (
                group.owner is not None and not group.hook
            ):  # a hook's owner is told by the group around the hook
                yield group.owner
            group = group.around


def groups(spec: JobSpec) -> Iterator[Group]:
    """All of them, outer ones first."""
    top = Group(("spec", "tasks"), spec.tasks, _order(spec.sequence, spec.order), None, None)
    yield from _within(top, ("spec",), spec, None, top)


def spots(found: Group) -> Iterator[Spot]:
    """The tasks directly in one group."""
    for name, task in found.tasks.items():
        yield Spot(name, (*found.path, name), task, found)


def _within(
    group: Group, path: Path, holder: JobSpec | Task, owner: Spot | None, top: Group
) -> Iterator[Group]:
    yield group
    for spot in spots(group):
        task = spot.task
        if task.tasks or task.finally_ or task.on_failure or task.on_success:
            inner = Group((*spot.path, "tasks"), task.tasks, _order(task.sequence, task.order), spot, group)
            yield from _within(inner, spot.path, task, spot, inner)
    for hook, tasks in zip(HOOKS, (holder.finally_, holder.on_failure, holder.on_success), strict=True):
        if tasks:
            own = Group((*path, hook), tasks, (), owner, group, hook)
            yield from _within(own, (), _NONE, None, own)


_NONE = Task()


def _order(sequence: bool, order: tuple[str, ...]) -> tuple[str, ...]:
    return order if sequence else ()
