"""What there is to draw: the tasks of a definition or of a run, how they contain and how they need each other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from hivemind.model.job import JobSpec, Task
from hivemind.model.run import TaskRunDocument

HOOKS = ("on_failure", "on_success", "finally")
_MEMBER = re.compile(r"\[(\d+)\]\Z")


@dataclass
class Shape:
    """One task, group or fan-out. The root is the job itself, with an empty path."""

    path: str
    role: str = "task"
    needs: dict[str, str] = field(default_factory=dict)
    """Path of another shape -> the outcome, or the expression, that is needed of it."""
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


def parent(path: str) -> str:
    """`ml.train` -> `ml`, `build[2]` -> `build`, `get` -> the empty path of the run."""
    if path.endswith("]"):
        return path[: path.rindex("[")]
    return path.rpartition(".")[0]


def of_spec(spec: JobSpec, runs: Iterable[TaskRunDocument] = ()) -> Shape:
    """The shape of a definition, with the states of a run of it. Members of fan-outs come from the run."""
    known = {run.path: run for run in runs}
    root = Shape("", "group")
    root.below = _group(spec, "", {}, known)
    _add_members(root, known)
    return root


def of_runs(runs: Iterable[TaskRunDocument]) -> Shape:
    """The shape as far as the run itself tells it."""
    root = Shape("", "group")
    shapes = {"": root}
    for run in sorted(runs, key=lambda r: _depth(r.path)):
        shape = shapes[run.path] = Shape(run.path, run.role, run=run)
        above = parent(run.path)
        if above not in shapes:
            shapes[above] = Shape(above, "group")
            shapes[parent(above)].below.append(shapes[above])
        shapes[above].below.append(shape)
    for shape in shapes.values():
        shape.needs = {
            found: "success"
            for need in (shape.run.needs if shape.run else ())
            if (found := _resolve(need, parent(shape.path), shapes))
        }
        shape.below = in_order(shape.below)
    return root


def _depth(path: str) -> int:
    return path.count(".") + path.count("[")


def _group(
    holder: JobSpec | Task, path: str, around: Mapping[str, str], known: Mapping[str, TaskRunDocument]
) -> list[Shape]:
    """`around`: ids that may be needed -> their paths."""
    within = f"{path}." if path else ""
    visible = {**around, **{id: within + id for id in holder.tasks}}
    made = [_shape(id, task, within + id, visible, known) for id, task in holder.tasks.items()]
    by_path = {shape.path: shape for shape in made}
    if holder.sequence:
        for before, after in zip(holder.order, holder.order[1:], strict=False):
            if within + after in by_path:
                by_path[within + after].needs.setdefault(within + before, "success")
    return in_order(made) + _hooks(holder, within, visible, known)


def _hooks(
    holder: JobSpec | Task, within: str, visible: Mapping[str, str], known: Mapping[str, TaskRunDocument]
) -> list[Shape]:
    hooks = []
    for hook, tasks in zip(HOOKS, (holder.on_failure, holder.on_success, holder.finally_), strict=True):
        if tasks:
            shape = Shape(within + hook, "hook", run=known.get(within + hook))
            here = {**visible, **{id: f"{within}{hook}.{id}" for id in tasks}}
            shape.below = in_order([_shape(id, task, here[id], here, known) for id, task in tasks.items()])
            hooks.append(shape)
    return hooks


def _shape(
    id: str, task: Task, path: str, visible: Mapping[str, str], known: Mapping[str, TaskRunDocument]
) -> Shape:
    shape = Shape(path, _role(task), run=known.get(path))
    shape.needs = {visible[n]: o for n, o in task.needs.items() if n in visible and visible[n] != path}
    if task.tasks and shape.role == "group":
        shape.below = _group(task, path, visible, known)
    elif task.tasks and not known:
        member = Shape(f"{path}[*]", "group")
        member.below = _group(task, member.path, visible, known)
        shape.below = [member]
    return shape


def _role(task: Task) -> str:
    if task.matrix or task.include or task.for_each is not None:
        return "fan-out"
    if task.tasks:
        return "group"
    return "approval" if task.approval else "job" if task.job else "task"


def _add_members(root: Shape, known: Mapping[str, TaskRunDocument]) -> None:
    """Members of fan-outs, and what is in them, are told by the run alone."""
    shapes = {shape.path: shape for shape in root.each()}
    touched = []
    for path in sorted(known, key=_depth):
        if path in shapes or "[" not in path:
            continue
        above = shapes.get(parent(path))
        if above is not None:
            run = known[path]
            shapes[path] = Shape(path, run.role, run=run)
            shapes[path].needs = {
                found: "success" for need in run.needs if (found := _resolve(need, parent(path), shapes))
            }
            above.below.append(shapes[path])
            touched.append(above)
    for shape in {id(shape): shape for shape in touched}.values():
        shape.below = in_order(shape.below)


def _resolve(need: str, within: str, shapes: Mapping[str, Shape]) -> str:
    """The path that an id means there: a task of the same group, or of one around it."""
    if need in shapes and "." in need:
        return need
    while True:
        path = f"{within}.{need}" if within else need
        if path in shapes:
            return path
        if not within:
            return ""
        within = parent(within)


def layers(shapes: list[Shape]) -> list[list[Shape]]:
    """Each behind all that it needs of these. What needs itself around corners, which no valid job does, comes last."""
    here = {shape.path for shape in shapes}
    open_needs = {s.path: len({n for n in s.needs if n in here}) for s in shapes}
    dependents: dict[str, list[Shape]] = {}
    for shape in shapes:
        for need in shape.needs:
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


def in_order(shapes: list[Shape]) -> list[Shape]:
    """By layer, then as numbers and names go; hooks last."""
    hooks = [s for s in shapes if s.name in HOOKS]
    members = sorted((s for s in shapes if _MEMBER.search(s.path)), key=_index)
    tasks = (
        [s for s in shapes if s not in hooks and not _MEMBER.search(s.path)] if hooks or members else shapes
    )
    return (
        [s for layer in layers(tasks) for s in layer]
        + members
        + sorted(hooks, key=lambda s: HOOKS.index(s.name))
    )


def _index(shape: Shape) -> int:
    found = _MEMBER.search(shape.path)
    assert found is not None
    return int(found[1])
