"""The plan: a definition as the tree that workflows walk, made once for each definition.

Its nodes are the groups and tasks as they were written; the root, whose path is empty, is the run itself. What they
become in a run are task runs, named by *places*: the path of the node, in which every fan-out passed on the way has
the number of its member. `ml.train` is a path; `ml[2].train` is a place of it, `ml` the place of all members of `ml`
together.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from hivemind.errors import Invalid
from hivemind.model.job import JobSpec, Task

Role = Literal["task", "group", "approval", "job"]
HOOKS = ("on_failure", "on_success", "finally")
"""Groups that a group has beside its tasks, in the order of their turn. No task may have such an id."""
PASSED = "passed"
"""How a task of a sequence needs the one before it: with success, or left out by its own condition."""

_INDEX = re.compile(r"\[\d+\]")
_KEPT = 256
"""So many plans are remembered."""


@dataclass(eq=False, slots=True)
class Node:
    """A task or group of a definition. The tree is complete, and not changed, when `Plan.of` returns."""

    path: str
    id: str
    task: Task
    role: Role
    parent: Node | None
    fans: bool
    """It runs once for each member of a `matrix` or `for_each`."""
    children: dict[str, Node] = field(default_factory=dict)
    """Of a group: in the order of its sequence, otherwise by id."""
    hooks: dict[str, Node] = field(default_factory=dict)
    """Of a group: those of `HOOKS` that it has, each a group itself."""
    needs: dict[Node, str] = field(default_factory=dict)
    """An `Outcome`, `PASSED` or an expression over what that one came to."""
    needed: list[Node] = field(default_factory=list)
    """The same nodes, in that order."""
    dependents: list[Node] = field(default_factory=list)

    @property
    def hook(self) -> bool:
        return self.parent is not None and self.id in HOOKS

    @property
    def depth(self) -> int:
        return self.path.count(".") + 1 if self.path else 0

    def awaited(self) -> dict[Node, str]:
        """Those beside it without which it cannot end: what it needs, and what any task in it needs."""
        found: dict[Node, str] = {}
        for needed, need in self._all_needs():
            if needed.parent is self.parent:
                found.setdefault(needed, need)
        return found

    def _all_needs(self) -> Iterator[tuple[Node, str]]:
        yield from self.needs.items()
        for inner in (*self.children.values(), *self.hooks.values()):
            yield from inner._all_needs()

    def around(self) -> Iterator[Node]:
        """The groups that it is in, from the innermost to the run."""
        group = self.parent
        while group is not None:
            yield group
            group = group.parent

    def __repr__(self) -> str:
        return f"Node({self.path!r})"


class Plan:
    """`nodes` are all of its nodes by path."""

    def __init__(self, spec: JobSpec) -> None:
        """Raises `Invalid` where a need names nothing that is there, or waits for itself."""
        self.nodes: dict[str, Node] = {}
        self.root = self._grow(None, "", _whole(spec))
        for node in self.nodes.values():
            _resolve(node)
        for node in self.nodes.values():
            if node.task.sequence:
                for before, after in pairwise(node.children.values()):
                    after.needs.setdefault(before, PASSED)
        for node in self.nodes.values():
            node.needed.extend(node.needs)
            for needed in node.needs:
                needed.dependents.append(node)
        if circle := _circle(self.root):
            raise Invalid(f"these tasks wait for each other: {' → '.join(circle)}")

    @staticmethod
    def of(spec: JobSpec) -> Plan:
        """The same plan for the same definition, as long as it is in use."""
        found = _plans.get(id(spec))
        if found is None or found[0] is not spec:
            found = _plans[id(spec)] = (spec, Plan(spec))
            while len(_plans) > _KEPT:
                _plans.popitem(last=False)
        _plans.move_to_end(id(spec))
        return found[1]

    def node(self, place: str) -> Node:
        """What the task run there is of. Raises `KeyError`."""
        return self.nodes[path_of(place)]

    def role(self, place: str) -> Literal["task", "group", "fan-out", "approval", "job"]:
        node = self.node(place)
        return "fan-out" if node.fans and not is_member(place) else node.role

    def _grow(self, parent: Node | None, name: str, task: Task) -> Node:
        path = f"{parent.path}.{name}" if parent and parent.path else name
        fans = bool(task.matrix or task.include) or task.for_each is not None
        node = self.nodes[path] = Node(path, name, task, role_of(task), parent, fans)
        for child in _ordered(task):
            node.children[child] = self._grow(node, child, task.tasks[child])
        for hook, tasks in zip(HOOKS, (task.on_failure, task.on_success, task.finally_), strict=True):
            if tasks:
                node.hooks[hook] = self._grow(node, hook, Task(tasks=tasks, fail_fast=False))
        return node


_plans: OrderedDict[int, tuple[JobSpec, Plan]] = OrderedDict()
"""By the identity of the definition, which is kept along so that the identity stays its own."""


# Places.


def path_of(place: str) -> str:
    """What it is a place of: the path in the definition."""
    return _INDEX.sub("", place) if "[" in place else place


def parent_of(place: str) -> str:
    """The task run that it is directly part of: the fan-out of a member, the group of anything else; the run is ""."""
    return fanout_of(place) if is_member(place) else place.rpartition(".")[0]


def is_member(place: str) -> bool:
    return place.endswith("]")


def member(fanout: str, index: int) -> str:
    return f"{fanout}[{index}]"


def fanout_of(place: str) -> str:
    """The fan-out that a member is of."""
    return place[: place.rindex("[")]


def index_of(place: str) -> int:
    """Which member it is; -1: none."""
    return int(place[place.rindex("[") + 1 : -1]) if is_member(place) else -1


def child(group: str, name: str) -> str:
    return f"{group}.{name}" if group else name


def beside(place: str, node: Node) -> str:
    """The place of `node` that someone at `place` means, where `node` is in a group around that place."""
    parts = place.split(".")[: node.depth - 1]
    return ".".join((*parts, node.id))


# Building.


def _whole(spec: JobSpec) -> Task:
    """The run as the group that it is."""
    return Task(
        tasks=spec.tasks,
        sequence=spec.sequence,
        order=spec.order,
        finally_=spec.finally_,
        on_failure=spec.on_failure,
        on_success=spec.on_success,
        fail_fast=spec.fail_fast,
        timeout=spec.timeout,
        outputs=spec.outputs,
    )


def role_of(task: Task) -> Role:
    return "group" if task.tasks else "approval" if task.approval else "job" if task.job else "task"


def _ordered(task: Task) -> Sequence[str]:
    first = [name for name in task.order if name in task.tasks]
    return [*first, *sorted(task.tasks.keys() - set(first))]


def _resolve(node: Node) -> None:
    """Finds what it needs: in its own group first, then in those around it."""
    for name, outcome in node.task.needs.items():
        found = next((group.children[name] for group in node.around() if name in group.children), None)
        if found is None or found is node or found in node.around():
            raise Invalid(f"{node.path} needs {name}, which is no task that it could wait for")
        node.needs[found] = outcome


def _circle(root: Node) -> list[str]:
    """Paths that wait for each other, or nothing. A node ends after it has begun, a group after what is in it; a node
    begins after what it needs has ended, and after its group has begun."""
    waits: dict[tuple[Node, bool], Iterator[tuple[Node, bool]]] = {}
    done: set[tuple[Node, bool]] = set()
    stack = [(root, True)]
    while stack:
        step = stack[-1]
        if step not in waits:
            waits[step] = iter(_after(*step))
        following = next((each for each in waits[step] if each not in done), None)
        if following is None:
            done.add(stack.pop())
        elif following in waits:
            circle = [node.path for node, _ in stack[stack.index(following) :]]
            return list(dict.fromkeys([*circle, following[0].path])) if len(circle) > 1 else circle
        else:
            stack.append(following)
    return []


def _after(node: Node, end: bool) -> list[tuple[Node, bool]]:
    """What must have come before it ends, or begins."""
    if end:
        return [(node, False), *((each, True) for each in (*node.children.values(), *node.hooks.values()))]
    begun = [(node.parent, False)] if node.parent else []
    return [*begun, *((needed, True) for needed in node.needs)]
