"""A run as a tree: each task with its state, how long it took and why it is so."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hivemind.cli.jobs.marks import Marks, span
from hivemind.cli.jobs.shape import Shape
from hivemind.cli.tables import cut, display_width, pad, printable
from hivemind.model.run import RunDocument

Paint = Callable[[str, str], str]
_MEMBERS = 12
"""So many members of a fan-out are shown, those that need attention first."""
_TELLING = ("failed", "timed out", "lost", "running", "blocked", "queued", "canceled", "pending", "skipped")
_NAME = 36
_REST = 70
"""Columns that wide terminals leave for state, time and reason."""


def headline(run: RunDocument, now: int) -> str:
    """`nightly-7  running  3/7 tasks  12s`."""
    parts = [run.name, run.shown, f"{run.progress} tasks"]
    if run.started:
        parts.append(span((run.ended or now) - run.started))
    if run.late:
        parts.append("late")
    return "  ".join(parts) + (f"  {printable(run.reason)}" if run.reason else "")


def lines(
    root: Shape, marks: Marks, width: int, paint: Paint, now: int, *, everything: bool = False
) -> list[str]:
    """A line for each task; `everything`: members of fan-outs that are as they should be, too."""
    rows = list(_rows(root, "", marks, everything=everything))
    lead = min(
        max((display_width(beam + name) for beam, name, _ in rows), default=0), max(_NAME, width - _REST)
    )
    found = []
    for beam, name, shape in rows:
        name = cut(name, max(lead - display_width(beam), 8))
        if shape is None:
            found.append(f"{beam}{name}")
            continue
        state = shape.state
        sign = marks.states.get(state, marks.other)
        front = f"{beam}{paint(sign, state)} {pad(name, lead - display_width(beam))}"
        used = lead + 2
        if not shape.run:
            found.append(front.rstrip())
            continue
        told = f"  {paint(f'{state:<9}', state)}  {_took(shape, now):>6}"
        used += 2 + max(9, len(state)) + 2 + max(6, len(_took(shape, now)))
        why = printable(_why(shape))
        if why and width - used - 2 > 8:
            told += f"  {cut(why, width - used - 2)}"
        found.append((front + told).rstrip())
    return found


def _rows(
    shape: Shape, beam: str, marks: Marks, *, everything: bool
) -> Iterator[tuple[str, str, Shape | None]]:
    below, hidden = _chosen(shape, everything=everything)
    for number, inner in enumerate(below):
        last = number == len(below) - 1 and not hidden
        yield beam + (marks.last if last else marks.branch), _name(inner, shape), inner
        yield from _rows(inner, beam + (marks.gap if last else marks.beam), marks, everything=everything)
    if hidden:
        told = ", ".join(f"{count} {state or 'more'}" for state, count in hidden.items())
        yield beam + marks.last, f"… {told}" if marks.flat == "─" else f"... {told}", None


def _name(shape: Shape, above: Shape) -> str:
    if shape.path.endswith("]"):
        item = shape.run.item if shape.run else None
        return f"{above.name}{shape.name}" + (f" {_short(item)}" if item is not None else "")
    return shape.name


def _short(item: object) -> str:
    if isinstance(item, dict):
        return ",".join(f"{k}={v}" for k, v in item.items())
    return str(item)


def _chosen(shape: Shape, *, everything: bool) -> tuple[list[Shape], dict[str, int]]:
    """What is shown below it, and how many are not, by state."""
    members = shape.members()
    if everything or len(members) <= _MEMBERS:
        return shape.below, {}
    order = {state: number for number, state in enumerate(_TELLING)}
    telling = sorted(members, key=lambda s: order.get(s.state, len(order)))[:_MEMBERS]
    kept = {id(s) for s in telling}
    hidden: dict[str, int] = {}
    for member in members:
        if id(member) not in kept:
            hidden[member.state] = hidden.get(member.state, 0) + 1
    return [s for s in shape.below if id(s) in kept or s not in members], hidden


def _took(shape: Shape, now: int) -> str:
    run = shape.run
    if run is None or not run.started:
        return ""
    return span((run.ended or now) - run.started)


def _why(shape: Shape) -> str:
    """The reason; else where it ran and at which attempt, if that says something."""
    run = shape.run
    if run is None:
        return ""
    parts = []
    if shape.role == "fan-out" and shape.members():
        over = sum(1 for s in shape.members() if s.run and s.run.ended)
        parts.append(f"{over}/{len(shape.members())}")
    if run.child:
        parts.append(run.child)
    if run.attempt > 1:
        parts.append(f"attempt {run.attempt}")
    if run.reason:
        parts.append(run.reason)
    elif run.exit_code and run.state != "running":
        parts.append(f"exit code {run.exit_code}")
    elif run.state == "running" and run.nodes and shape.role == "task":
        parts.append(f"on {', '.join(dict.fromkeys(run.nodes))}")
    return ", ".join(parts)
