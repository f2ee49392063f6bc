"""A graph as boxes and lines: what is needed stands above what needs it.

Shapes are put in layers, long edges get a place in each layer that they pass, and each layer is ordered by where
its neighbours are (the barycentre method of Sugiyama). Between two layers every source has a track of its own, so
that lines which cross are never taken for lines which meet.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hivemind.cli.jobs.marks import Marks, span
from hivemind.cli.jobs.shape import HOOKS, Shape, layers
from hivemind.cli.tables import cut, display_width

_LONGEST_NAME = 28
_GAP = 3
_SWEEPS = 4
_UP, _DOWN, _LEFT, _RIGHT = 1, 2, 4, 8
_LINES = {
    _UP: "│", _DOWN: "│", _UP | _DOWN: "│", _LEFT: "─", _RIGHT: "─", _LEFT | _RIGHT: "─",
    _DOWN | _RIGHT: "┌", _DOWN | _LEFT: "┐", _UP | _RIGHT: "└", _UP | _LEFT: "┘",
    _UP | _DOWN | _RIGHT: "├", _UP | _DOWN | _LEFT: "┤", _DOWN | _LEFT | _RIGHT: "┬",
    _UP | _LEFT | _RIGHT: "┴", _UP | _DOWN | _LEFT | _RIGHT: "┼",
}  # fmt: skip

Paint = Callable[[str, str], str]
"""`(text, state) -> text` in that state's colour."""


@dataclass
class _Item:
    """A box, or the place where a long edge passes a layer."""

    shape: Shape | None
    label: str = ""
    center: int = 0
    above: list[_Item] = field(default_factory=list)
    below: list[_Item] = field(default_factory=list)

    @property
    def width(self) -> int:
        return display_width(self.label) + 4 if self.shape else 1

    @property
    def left(self) -> int:
        return self.center - self.width // 2


def draw(
    root: Shape, marks: Marks, width: int, paint: Paint = lambda text, state: text, now: int = 0
) -> list[str] | None:
    """The graph of the job, then one of each group in it. None when a layer does not fit the width."""
    lines: list[str] = []
    for group in [root, *_groups(root)]:
        drawn = _one(_drawn(group), marks, width, paint, now)
        if drawn is None:
            return None
        if not drawn:
            continue
        if group.path:
            lines += ["", f"{group.path}:"]
        lines += drawn
    return lines


def _groups(root: Shape) -> list[Shape]:
    """Those whose inside is worth a picture: members of a fan-out are summed up in its box, except a pattern."""
    found = []
    for shape in root.below:
        if shape.path.endswith("[*]") or (shape.below and shape.role in ("group", "hook")):
            found.append(shape)
        if shape.role != "fan-out" or shape.path.endswith("]") or not shape.run:
            found += _groups(shape)
    return found


def _drawn(group: Shape) -> list[Shape]:
    return [s for s in group.below if s.name not in HOOKS]


def _one(shapes: Sequence[Shape], marks: Marks, width: int, paint: Paint, now: int) -> list[str] | None:
    if not shapes:
        return []
    rows = _items(list(shapes), marks, now)
    _order(rows)
    if not _place(rows, width):
        return None
    lines = []
    for number, row in enumerate(rows):
        lines += _boxes(row, marks, paint, first=number == 0, last=number == len(rows) - 1)
        if number + 1 < len(rows):
            lines += _channel(row, rows[number + 1], marks)
    return [line.rstrip() for line in lines]


# -- layers ------------------------------------------------------------------------------------------------------


def _items(shapes: list[Shape], marks: Marks, now: int) -> list[list[_Item]]:
    rows = [[_Item(shape, label(shape, marks, now)) for shape in layer] for layer in layers(shapes)]
    where = {item.shape.path: (n, item) for n, row in enumerate(rows) for item in row if item.shape}
    for number, row in enumerate(list(rows)):
        for item in list(row):
            if item.shape is None:
                continue
            for need in item.shape.awaited:
                if need in where and where[need][0] < number:
                    _connect(rows, where[need], (number, item))
    return rows


def _connect(rows: list[list[_Item]], source: tuple[int, _Item], target: tuple[int, _Item]) -> None:
    """One edge; edges of one source that pass the same layer pass it together."""
    (begin, above), (end, below) = source, target
    for number in range(begin + 1, end):
        passing = next((i for i in above.below if i.shape is None), None)
        if passing is None:
            passing = _Item(None)
            passing.above.append(above)
            above.below.append(passing)
            rows[number].append(passing)
        above = passing
    above.below.append(below)
    below.above.append(above)


def _order(rows: list[list[_Item]]) -> None:
    for sweep in range(_SWEEPS):
        downwards = sweep % 2 == 0
        pairs = list(itertools.pairwise(rows))
        for upper, lower in pairs if downwards else reversed(pairs):
            fixed, moved = (upper, lower) if downwards else (lower, upper)
            position = {id(item): n for n, item in enumerate(fixed)}
            here = {id(item): n for n, item in enumerate(moved)}

            def middle(
                item: _Item,
                position: dict[int, int] = position,
                here: dict[int, int] = here,
                downwards: bool = downwards,
            ) -> float:
                near = [position[id(i)] for i in (item.above if downwards else item.below)]
                return sum(near) / len(near) if near else float(here[id(item)])

            moved.sort(key=middle)


def _place(rows: list[list[_Item]], width: int) -> bool:
    """Gives everything its column. False when a layer is wider than `width`."""
    widths = [sum(i.width for i in row) + _GAP * (len(row) - 1) for row in rows]
    if max(widths) > width:
        return False
    for row, size in zip(rows, widths, strict=True):
        left = (max(widths) - size) // 2
        for item in row:
            item.center = left + item.width // 2
            left += item.width + _GAP
    for sweep in range(_SWEEPS):
        downwards = sweep % 2 == 0
        for row in rows[1:] if downwards else rows[-2::-1]:
            _align(row, width, downwards=downwards)
    shift = min(item.left for row in rows for item in row)
    for row in rows:
        for item in row:
            item.center -= shift
    return True


def _align(row: list[_Item], width: int, *, downwards: bool) -> None:
    """Each as near to the middle of its neighbours as the ones beside it allow."""
    wanted = []
    for item in row:
        near = [i.center for i in (item.above if downwards else item.below)]
        wanted.append(round(sum(near) / len(near)) if near else item.center)
    lefts = [center - item.width // 2 for item, center in zip(row, wanted, strict=True)]
    edge = 0
    for number, item in enumerate(row):
        lefts[number] = edge = max(lefts[number], edge)
        edge += item.width + _GAP
    edge = width
    for number in range(len(row) - 1, -1, -1):
        lefts[number] = min(lefts[number], edge - row[number].width)
        edge = lefts[number] - _GAP
    for item, left in zip(row, lefts, strict=True):
        item.center = left + item.width // 2


# -- characters --------------------------------------------------------------------------------------------------


def label(shape: Shape, marks: Marks, now: int = 0) -> str:
    sign = marks.states.get(shape.state, marks.other)
    name = cut(shape.name, _LONGEST_NAME)
    if shape.role == "fan-out":
        name += f" {_tally(shape, marks)}"
    elif shape.role != "task":
        name += f" ({shape.role})"
    if shape.run and shape.run.started:
        name += f" {span((shape.run.ended or now or shape.run.started) - shape.run.started)}"
    return f"{sign} {name}"


def _tally(shape: Shape, marks: Marks) -> str:
    """`×12 8✓ 1✗`."""
    members = shape.members() if shape.run else []
    if not members:
        return "×n" if marks.flat == "─" else "x n"
    counts: dict[str, int] = {}
    for member in members:
        counts[member.state] = counts.get(member.state, 0) + 1
    shown = " ".join(f"{counts[state]}{sign}" for state, sign in marks.states.items() if state in counts)
    return f"{'×' if marks.flat == '─' else 'x'}{len(members)} {shown}"


def _boxes(row: list[_Item], marks: Marks, paint: Paint, *, first: bool, last: bool) -> list[str]:
    top, middle, bottom = "", "", ""
    used = 0
    a, b, c, d = tuple(marks.corners)
    line = "│" if marks.flat == "─" else "|"
    for item in sorted(row, key=lambda i: i.left):
        pad = " " * (item.left - used)
        used = item.left + item.width
        if item.shape is None:
            top, middle, bottom = top + pad + line, middle + pad + line, bottom + pad + line
            continue
        inner = item.width - 2
        at = item.center - item.left - 1
        lower = marks.flat * inner
        if item.below and marks.flat == "─":
            lower = lower[:at] + "┬" + lower[at + 1 :]
        state = item.shape.state
        top += pad + paint(a + marks.flat * inner + b, state)
        middle += pad + paint(f"{marks.upright} {item.label} {marks.upright}", state)
        bottom += pad + paint(c + lower + d, state)
    return [top, middle, bottom]


def _channel(upper: list[_Item], lower: list[_Item], marks: Marks) -> list[str]:
    """The lines from one layer to the next."""
    sources = [item for item in upper if item.below]
    if not sources:
        return [""]
    tracks = _tracks(sources)
    height = max(tracks.values(), default=-1) + 1
    size = max(i.center for i in (*upper, *lower)) + 1
    grid = [[0] * size for _ in range(height + 1)]
    for item in sources:
        ends = [below.center for below in item.below]
        if id(item) not in tracks:
            _upright(grid, item.center, 0, height)
            continue
        track = tracks[id(item)]
        _upright(grid, item.center, 0, track, closed=True)
        left, right = min(*ends, item.center), max(*ends, item.center)
        for column in range(left, right + 1):
            grid[track][column] |= (_LEFT if column > left else 0) | (_RIGHT if column < right else 0)
        for end in ends:
            grid[track][end] |= _DOWN
            _upright(grid, end, track + 1, height)
    lines = ["".join(_character(cell, marks) for cell in row) for row in grid]
    return [*lines[:-1], _heads(lines[-1], lower, marks)]


def _upright(grid: list[list[int]], column: int, begin: int, end: int, *, closed: bool = False) -> None:
    """A vertical line; `closed`: it ends in the middle of the last row."""
    for row in range(begin, end + 1):
        grid[row][column] |= _UP if closed and row == end else _UP | _DOWN


def _tracks(sources: list[_Item]) -> dict[int, int]:
    """Source -> the row in which its line goes sideways; those that only go straight down have none.

    Where a source stands right above something that is not its own, it has to leave that column above the row in
    which another line enters it."""
    bent = [i for i in sources if any(below.center != i.center for below in i.below)]
    reach = {
        id(i): (min(i.center, *(b.center for b in i.below)), max(i.center, *(b.center for b in i.below)))
        for i in bent
    }
    first: dict[int, set[int]] = {id(i): set() for i in bent}
    for above in bent:
        for other in bent:
            if other is not above and above.center in {b.center for b in other.below}:
                first[id(other)].add(id(above))
    tracks: dict[int, int] = {}
    waiting = list(bent)
    while waiting:
        free = [i for i in waiting if all(f in tracks for f in first[id(i)])] or waiting[:1]
        for item in free:
            least = max((tracks[f] + 1 for f in first[id(item)] if f in tracks), default=0)
            tracks[id(item)] = _free_row(reach, tracks, id(item), least)
            waiting.remove(item)
    return tracks


def _free_row(reach: dict[int, tuple[int, int]], tracks: dict[int, int], item: int, row: int) -> int:
    left, right = reach[item]
    while any(
        tracks[other] == row and reach[other][0] <= right and left <= reach[other][1] for other in tracks
    ):
        row += 1
    return row


def _character(cell: int, marks: Marks) -> str:
    if not cell:
        return " "
    if marks.flat == "─":
        return _LINES[cell]
    if cell & (_LEFT | _RIGHT) and cell & (_UP | _DOWN):
        return "+"
    return "-" if cell & (_LEFT | _RIGHT) else "|"


def _heads(line: str, lower: list[_Item], marks: Marks) -> str:
    """Arrow heads over the boxes: what outcome is needed, if not all need success."""
    characters = list(line)
    for item in lower:
        if item.shape is None or not item.above:
            continue
        outcomes = set(item.shape.awaited.values())
        other = sorted(outcomes - {"success"})
        head = marks.heads.get(other[0], marks.asks) if other else marks.heads["success"]
        characters[item.center] = head
    return "".join(characters)


def legend(root: Shape, marks: Marks) -> str:
    """What the arrow heads mean, if any is not the ordinary one."""
    outcomes = {outcome for shape in root.each() for outcome in shape.needs.values()} - {"success"}
    told = {
        "failure": f"{marks.heads['failure']} if it failed",
        "done": f"{marks.heads['done']} whatever came of it",
        "always": f"{marks.heads['always']} whatever came of it",
    }
    parts = [told.get(outcome, f"{marks.asks} on a condition") for outcome in sorted(outcomes)]
    return ", ".join(dict.fromkeys(parts))
