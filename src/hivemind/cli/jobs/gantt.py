"""A run over time: a bar for each task, its attempts in it, the path that made it take so long marked."""

from __future__ import annotations

from collections.abc import Callable

from hivemind.cli.jobs.marks import Marks, span
from hivemind.cli.jobs.shape import Shape
from hivemind.cli.tables import cut, pad
from hivemind.jobs.plan import parent_of
from hivemind.model.run import RunDocument

Paint = Callable[[str, str], str]
_NAME = 30
_LEAST = 20
_CRITICAL = "*"


def lines(run: RunDocument, root: Shape, marks: Marks, width: int, paint: Paint, now: int) -> list[str]:
    """A line for each task that began, in the order in which they did."""
    begun = [s for s in root.each() if s.run and s.run.started and not s.below]
    if not begun:
        return ["nothing of it has begun"]
    begun.sort(key=lambda s: (_start(s), s.path))
    first = run.started or min(_start(s) for s in begun)
    last = max(run.ended or now, *(_end(s, now) for s in begun), first + 1)
    critical = {s.path for s in critical_path(root, now)}
    lead = min(max(len(s.path) for s in begun), _NAME) + 2
    room = max(width - lead - 9, _LEAST) if width < 10**5 else 60
    found = [pad("", lead) + _scale(first, last, room)]
    for shape in begun:
        mark = _CRITICAL if shape.path in critical else " "
        bar = _bar(shape, first, last, room, marks, now)
        took = span(_end(shape, now) - _start(shape))
        name = pad(cut(shape.path, lead - 2), lead - 2)
        found.append(f"{mark}{name} {paint(bar, shape.state)} {took:>6}".rstrip())
    if critical:
        found.append(f"{_CRITICAL} what it took so long for")
    return found


def critical_path(root: Shape, now: int) -> list[Shape]:
    """From the task that ended last back over what each waited for longest; first things first."""
    tasks = {s.path: s for s in root.each() if s.path}
    leaves = [s for s in tasks.values() if s.run and s.run.started and not s.below]
    if not leaves:
        return []
    path = [max(leaves, key=lambda s: (_end(s, now), s.path))]
    seen = {path[0].path}
    while True:
        before = [s for s in _waited_for(path[-1], tasks) if s.path not in seen]
        if not before:
            return path[::-1]
        path.append(max(before, key=lambda s: (_end(s, now), s.path)))
        seen.add(path[-1].path)


def _waited_for(shape: Shape, tasks: dict[str, Shape]) -> list[Shape]:
    """Leaves that it, or a group around it, needs."""
    found: list[Shape] = []
    path = shape.path
    while path:
        if path in tasks:
            for need in tasks[path].needs:
                found += _begun(tasks[need]) if need in tasks else []
            if tasks[path].role == "hook":
                group = [s for s in tasks.values() if parent_of(s.path) == parent_of(path)]
                found += [s for one in group if one.role != "hook" for s in _begun(one)]
        path = parent_of(path)
    return found


def _begun(shape: Shape) -> list[Shape]:
    return [s for s in shape.each() if s.run and s.run.started and not s.below]


def _start(shape: Shape) -> int:
    """Of its first attempt."""
    run = shape.run
    assert run is not None
    return min([run.started, *(a.started for a in run.attempts if a.started)])


def _end(shape: Shape, now: int) -> int:
    run = shape.run
    return (run.ended or now) if run else now


def _bar(shape: Shape, first: int, last: int, room: int, marks: Marks, now: int) -> str:
    run = shape.run
    assert run is not None
    scale = room / (last - first)
    cells = [" "] * room

    def fill(begin: int, end: int, sign: str) -> None:
        left = min(max(int((begin - first) * scale), 0), room - 1)
        right = min(max(int((end - first) * scale + 0.5), left + 1), room)
        cells[left:right] = sign * (right - left)

    fill(_start(shape), _end(shape, now), marks.waiting)
    spans = [(a.started, a.ended, a.cause == "exit" and not a.exit_code) for a in run.attempts if a.started]
    if not run.ended or not spans:
        good = run.state not in ("failed", "timed out", "lost", "canceled")
        spans.append((run.started, _end(shape, now), good))
    for begin, end, good in spans:
        fill(begin, end, marks.bar if good else marks.failed_bar)
    return "".join(cells)


def _scale(first: int, last: int, room: int) -> str:
    """`0s        10s        20s`."""
    steps = max(room // 15, 1)
    text = " " * (room + 8)
    for number in range(steps + 1):
        at = round(room * number / steps)
        shown = span((last - first) * number / steps) if number else "0"
        text = text[:at] + shown + text[at + len(shown) :]
    return text.rstrip()
