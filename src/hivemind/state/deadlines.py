"""Deadlines: when what has to be looked at again, the nearest always at hand."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

Timer = tuple[str, str]
"""Kind and key: `("app", id)`, `("run", id)`, `("task", key)`."""


class Deadlines:
    """One time (ms) for each timer. Entries that were put off or taken back leave the heap when they come up."""

    def __init__(self) -> None:
        self._due: dict[Timer, int] = {}
        self._heap: list[tuple[int, Timer]] = []

    def __len__(self) -> int:
        return len(self._due)

    def get(self, timer: Timer) -> int | None:
        return self._due.get(timer)

    def put(self, timer: Timer, due: int) -> None:
        if self._due.get(timer) == due:
            return
        self._due[timer] = due
        heappush(self._heap, (due, timer))
        if len(self._heap) > 64 + 4 * len(self._due):
            self._heap = [(due, timer) for timer, due in self._due.items()]
            heapify(self._heap)

    def pop(self, timer: Timer) -> None:
        self._due.pop(timer, None)

    def first(self) -> int | None:
        """The nearest time; None: nothing waits for time to pass."""
        heap = self._heap
        while heap and self._due.get(heap[0][1]) != heap[0][0]:
            heappop(heap)
        return heap[0][0] if heap else None

    def passed(self, now: int) -> list[Timer]:
        """Takes out, and returns in order, all whose time has come."""
        found = []
        while (first := self.first()) is not None and first <= now:
            timer = heappop(self._heap)[1]
            del self._due[timer]
            found.append(timer)
        return found

    def take(self, other: Deadlines) -> None:
        """Becomes a copy of the other."""
        self._due, self._heap = dict(other._due), list(other._heap)
