"""A ranking of nodes by points in which one node's points change cheaply.

Nodes stand on a ring, each at a fixed position. Among those with equal points the one that comes first on the
ring at or after a starting position is taken: every ask starts elsewhere, so ties spread over the nodes.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Container, Iterable


class Ranking:
    """Positions with points; costs are logarithmic, but for a memory move of a few kilobytes."""

    __slots__ = ("_order", "_points", "_ties")

    def __init__(self, entries: Iterable[tuple[int, int]] = ()) -> None:
        """`entries` are (position, points) in ascending order of position."""
        self._points: dict[int, int] = {}
        self._ties: dict[int, list[int]] = {}
        for position, points in entries:
            self._points[position] = points
            self._ties.setdefault(points, []).append(position)
        self._order = sorted(self._ties)

    def __len__(self) -> int:
        return len(self._points)

    def __contains__(self, position: int) -> bool:
        return position in self._points

    def get(self, position: int) -> int | None:
        return self._points.get(position)

    def levels(self) -> list[int]:
        """The points that occur, ascending."""
        return list(self._order)

    def ties(self, points: int) -> list[int]:
        """The positions with so many points, ascending; not to be changed."""
        return self._ties.get(points, [])

    def top(self) -> int | None:
        return self._order[-1] if self._order else None

    def set(self, position: int, points: int | None) -> None:
        """None takes it out."""
        before = self._points.get(position)
        if before == points:
            return
        if before is not None:
            self._remove(position, before)
        if points is not None:
            self._points[position] = points
            if points in self._ties:
                insort(self._ties[points], position)
            else:
                self._ties[points] = [position]
                insort(self._order, points)

    def _remove(self, position: int, points: int) -> None:
        del self._points[position]
        ties = self._ties[points]
        del ties[bisect_left(ties, position)]
        if not ties:
            del self._ties[points]
            del self._order[bisect_left(self._order, points)]

    def best(self, start: int, skip: Container[int] = (), floor: int | None = None) -> tuple[int, int] | None:
        """(points, position) of the best that is not in `skip`; None when it has fewer than `floor`."""
        for points in reversed(self._order):
            if floor is not None and points < floor:
                return None
            position = first(self._ties[points], start, skip)[0]
            if position is not None:
                return points, position
        return None


def first(ties: list[int], start: int, skip: Container[int]) -> tuple[int | None, int]:
    """The first on the ring from `start` that is not in `skip`, and how many had to be skipped."""
    index, count = bisect_left(ties, start), len(ties)
    for step in range(count):
        position = ties[(index + step) % count]
        if position not in skip:
            return position, step
    return None, count


class _Beyond(Container[int]):
    """All but those in `only` that are not in `without`."""

    __slots__ = ("_only", "_without")

    def __init__(self, without: Container[int], only: Container[int]) -> None:
        self._without = without
        self._only = only

    def __contains__(self, position: object) -> bool:
        return position in self._without or position not in self._only


class Remainder:
    """A ranking without the positions of a set that only grows, and with `only` of none but these; all others keep
    their points meanwhile.

    So a level that is used up stays so, and the search goes on where it ended the last time."""

    PATIENCE = 64
    """Positions skipped in one level before the level is copied without them."""

    __slots__ = ("_levels", "_own", "_ranking", "_skip", "_skipped")

    def __init__(self, ranking: Ranking, without: set[int], only: Container[int] | None = None) -> None:
        self._ranking = ranking
        self._skip: Container[int] = without if only is None else _Beyond(without, only)
        self._levels = ranking.levels()
        self._own: list[int] | None = None
        self._skipped = 0

    def best(self, start: int, floor: int | None = None) -> tuple[int, int] | None:
        """As `Ranking.best`."""
        while self._levels:
            points = self._levels[-1]
            if floor is not None and points < floor:
                return None
            ties = self._ranking.ties(points) if self._own is None else self._own
            position, skipped = first(ties, start, self._skip)
            if position is not None:
                self._skipped += skipped
                if self._skipped > self.PATIENCE:
                    self._own = [p for p in ties if p not in self._skip]
                    self._skipped = 0
                return points, position
            self._levels.pop()
            self._own, self._skipped = None, 0
        return None
