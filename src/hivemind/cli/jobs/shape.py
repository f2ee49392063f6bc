"""What there is to draw: the tasks of a definition or of a run, how they contain and how they need each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from hivemind.jobs.plan import HOOKS, PASSED, Node, Plan, beside, child, fanout_of, index_of, is_member
from hivemind.model.job import JobSpec
from hivemind.model.run import TaskRunDocument

__all__ = ["HOOKS", "Shape", "layers", "shape_of"]


@dataclass
class Shape:
    """One task, group or fan-out. The root is the job itself, with an empty path."""

    path: str
    role: str = "task"
    needs: dict[str, str] = field(default_factory=dict)
    """Path of another shape -> the outcome, or the expression, that is needed of it."""
    awaited: dict[str, str] = field(default_factory=dict)
    """Of those beside it: these needs, and those of the tasks in it."""
    below: list[Shape] = field(default_factory=list)
    run: TaskRunDocument | None = None

    @property
    def name(self) -> str:
        """The last part of its path: `train`, `build[2]`."""
        return "[" + self.path.rpartition("[")[2] if self.path.endswith("]") else self.path.rpartition(".")[2]

    @property
    def state(self) -> str:
        return self.run.state if self.run else ""

    def each(self) -> Iterator[Shape]:
        """It and all that is below it, those around first."""
        yield self
        for inner in self.below:
            yield from inner.each()

    def members(self) -> list[Shape]:
        """Of a fan-out: what it was spread into."""
        return [s for s in self.below if s.path.endswith("]")]


def shape_of(spec: JobSpec, runs: Iterable[TaskRunDocument] = ()) -> Shape:
    """The shape of a definition; with the task runs of a run of it, their states, and the members of its fan-outs.
    Without them a fan-out of a group has one member, `[*]`, that stands for all."""
    known = {run.path: run for run in runs}
    members: dict[str, list[str]] = {}
    for path in known:
        if is_member(path):
            members.setdefault(fanout_of(path), []).append(path)
    root = Shape("", "group")
    root.below = _Grower(known, members).group(Plan.of(spec).root, "")
    return root


@dataclass(frozen=True)
class _Grower:
    """Grows the shapes of a run from the nodes of its plan."""

    known: Mapping[str, TaskRunDocument]
    members: Mapping[str, list[str]]

    def group(self, node: Node, place: str) -> list[Shape]:
        tasks = [self.shape(inner, child(place, id)) for id, inner in node.children.items()]
        hooks = []
        for id, inner in node.hooks.items():
            hook = Shape(child(place, id), "hook", run=self.known.get(child(place, id)))
            hook.below = self.group(inner, hook.path)
            hooks.append(hook)
        return [*(s for layer in layers(tasks) for s in layer), *hooks]

    def shape(self, node: Node, place: str) -> Shape:
        shape = Shape(place, "fan-out" if node.fans else node.role, run=self.known.get(place))
        for needs, found in ((node.needs, shape.needs), (node.awaited(), shape.awaited)):
            for needed, outcome in needs.items():
                found[beside(place, needed)] = "success" if outcome == PASSED else outcome
        if not node.fans:
            shape.below = self.group(node, place)
            return shape
        for path in sorted(self.members.get(place, ()), key=index_of):
            shape.below.append(self._member(node, path))
        if node.children and not self.known:
            shape.below = [self._member(node, f"{place}[*]")]
        return shape

    def _member(self, node: Node, path: str) -> Shape:
        return Shape(path, node.role, below=self.group(node, path), run=self.known.get(path))


def layers(shapes: list[Shape]) -> list[list[Shape]]:
    """Each behind all that it needs of these. What needs itself around corners, which no valid job does, comes last."""
    here = {shape.path for shape in shapes}
    open_needs = {s.path: len({n for n in s.awaited if n in here}) for s in shapes}
    dependents: dict[str, list[Shape]] = {}
    for shape in shapes:
        for need in shape.awaited:
            if need in here:
                dependents.setdefault(need, []).append(shape)
    found: list[list[Shape]] = []
    layer = [s for s in shapes if not open_needs[s.path]]
    while layer:
        found.append(layer)
        freed: list[Shape] = []
        for shape in layer:
            for after in dependents.get(shape.path, ()):
                open_needs[after.path] -= 1
                if not open_needs[after.path]:
                    freed.append(after)
        layer = freed
    placed = {s.path for layer in found for s in layer}
    stuck = [s for s in shapes if s.path not in placed]
    return [*found, stuck] if stuck else found
