"""The queue: who is next of those that wait, at a cost that does not grow with how many do.

What waits for the same things stands in one *lane*; only the head of a lane is ever looked at, because what stops it
stops all behind it. Lanes that want the same kind of place stand in one *group*: when the head finds none, the whole
group is set aside until there is room again. A lane whose head is stopped by anything else is parked under the name
of that, and is woken by it. Pure; everything in here is derived from records, so it is never saved.

    rank = when it was ready (ms) − 36 s · priority

The rank never changes, so waiting makes everything older first (no priority starves) without a write; a point of
priority is worth 36 seconds. At choice time a project is put back by its share of what runs, see `handicap`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Iterator
from heapq import heappop, heappush
from typing import NamedTuple

POINT = 36_000
"""Milliseconds that a point of priority is worth: all hundred are an hour."""
SHARE = 1_800_000
"""Milliseconds by which a project of weight 1 is put back that has all that runs."""

Turn = tuple[int, int, str]
"""Rank; then, among equals, the index in a fan-out or the number of the run; then the item's key."""
Lane = Hashable
GroupKey = tuple[str, Hashable]
"""Project, and what kind of place is wanted."""
Reason = tuple[str, ...]
"""What a lane is parked under: `("key", project, key)`."""


def rank(ready: int, priority: int) -> int:
    return ready - POINT * priority


def handicap(running: int, total: int, weight: int) -> int:
    """Milliseconds by which a project is put back that has `running` of all `total` that run."""
    return SHARE * running // (total * weight) if total else 0


class Choice(NamedTuple):
    """Who is next."""

    item: str
    rank: int
    lane: Lane
    group: GroupKey


class _Line:
    """The items of one lane, smallest first. Entries of items that left are dropped when they come up."""

    __slots__ = ("group", "heap", "members", "parked", "sorted")

    def __init__(self, group: GroupKey) -> None:
        self.group = group
        self.heap: list[Turn] = []
        self.members: dict[str, Turn] = {}
        self.parked: tuple[Reason, ...] = ()
        self.sorted: list[Turn] | None = None
        """Made when somebody asks for positions, and no longer right once anything came or went."""

    def head(self) -> Turn | None:
        heap = self.heap
        while heap and self.members.get(heap[0][2]) != heap[0]:
            heappop(heap)
        return heap[0] if heap else None


class _Group:
    __slots__ = ("aside", "heap")

    def __init__(self) -> None:
        self.heap: list[tuple[Turn, Lane]] = []
        self.aside = False


class Queue:
    """Items are keys of records. `stirred` tells that somebody may be next who was not before."""

    def __init__(self) -> None:
        self.stirred = False
        self._lines: dict[Lane, _Line] = {}
        self._lane_of: dict[str, Lane] = {}
        self._groups: dict[GroupKey, _Group] = {}
        self._parked: dict[Reason, dict[Lane, None]] = {}

    def __len__(self) -> int:
        return len(self._lane_of)

    def __contains__(self, item: object) -> bool:
        return item in self._lane_of

    def put(self, item: str, rank: int, order: int, lane: Lane, group: GroupKey) -> None:
        self.drop(item)
        line = self._lines.get(lane)
        if line is None:
            line = self._lines[lane] = _Line(group)
        turn = (rank, order, item)
        line.members[item] = turn
        line.sorted = None
        heappush(line.heap, turn)
        self._lane_of[item] = lane
        if not line.parked and line.head() == turn:
            self._offer(lane, line)
        self.stirred = True

    def drop(self, item: str) -> None:
        lane = self._lane_of.pop(item, None)
        if lane is None:
            return
        line = self._lines[lane]
        first = line.head()
        turn = line.members.pop(item)
        line.sorted = None
        if not line.members:
            self._unpark(lane, line)
            del self._lines[lane]
        elif turn == first:
            # Whoever is next in the lane may be let through where this one was not: it is asked anew.
            self._unpark(lane, line)
            self._offer(lane, line)
            self.stirred = True

    def next(self, handicap: Callable[[str], int]) -> Choice | None:
        """The head of a lane that nothing is known to stop, with the smallest rank. `handicap` (ms) is of projects."""
        best: tuple[int, Turn, Lane, GroupKey] | None = None
        handicaps: dict[str, int] = {}
        for key, group in self._groups.items():
            found = None if group.aside else self._head(key, group)
            if found is None:
                continue
            turn, lane = found
            project = key[0]
            if project not in handicaps:
                handicaps[project] = handicap(project)
            if best is None or (turn[0] + handicaps[project], turn) < best[:2]:
                best = turn[0] + handicaps[project], turn, lane, key
        self._sweep()
        return None if best is None else Choice(best[1][2], best[1][0], best[2], best[3])

    def park(self, lane: Lane, reasons: Iterable[Reason]) -> None:
        """Its head is stopped: nobody looks at the lane until one of these is woken."""
        line = self._lines[lane]
        self._unpark(lane, line)
        line.parked = tuple(reasons)
        for reason in line.parked:
            self._parked.setdefault(reason, {})[lane] = None

    def wake(self, reason: Reason) -> None:
        """That may be different now; for those, too, who were not stopped by it before."""
        for lane in list(self._parked.get(reason, ())):
            line = self._lines[lane]
            self._unpark(lane, line)
            self._offer(lane, line)
        self.stirred = True

    def set_aside(self, group: GroupKey) -> None:
        """There is no place for any of that group."""
        self._groups[group].aside = True

    def room(self) -> None:
        """There may be places again."""
        for group in self._groups.values():
            if group.aside:
                group.aside = False
                self.stirred = True

    def without_place(self) -> Iterator[Choice]:
        """The heads of the groups that are set aside, smallest rank first."""
        heads = []
        for key, group in self._groups.items():
            found = self._head(key, group) if group.aside else None
            if found:
                heads.append((found[0], found[1], key))
        for turn, lane, key in sorted(heads, key=lambda head: head[0]):
            yield Choice(turn[2], turn[0], lane, key)

    def position(self, item: str) -> int:
        """How many stand before it in its lane."""
        line = self._lines[self._lane_of[item]]
        if line.sorted is None:
            line.sorted = sorted(line.members.values())
        return bisect_left(line.sorted, line.members[item])

    def _offer(self, lane: Lane, line: _Line) -> None:
        head = line.head()
        if head is not None:
            group = self._groups.get(line.group)
            if group is None:
                group = self._groups[line.group] = _Group()
            heappush(group.heap, (head, lane))

    def _unpark(self, lane: Lane, line: _Line) -> None:
        for reason in line.parked:
            waiting = self._parked[reason]
            waiting.pop(lane, None)
            if not waiting:
                del self._parked[reason]
        line.parked = ()

    def _head(self, key: GroupKey, group: _Group) -> tuple[Turn, Lane] | None:
        """The first of its lanes by their heads. Entries are dropped that do not tell what is so any more."""
        while group.heap:
            turn, lane = group.heap[0]
            line = self._lines.get(lane)
            if line is not None and not line.parked and line.head() == turn:
                return turn, lane
            heappop(group.heap)
        return None

    def _sweep(self) -> None:
        """Groups in which nobody stands any more are forgotten."""
        empty = [key for key, group in self._groups.items() if not group.heap and not group.aside]
        for key in empty:
            del self._groups[key]
