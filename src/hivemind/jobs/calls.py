"""Calls of routines by routines: that they come to an end, and how much is left when all are written out in place.

Ten routines of which each calls the next one ten times are ten thousand million steps, and every node would count them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from hivemind.errors import Invalid
from hivemind.jobs.script import DEEPEST
from hivemind.model.job import Routine, Task

MOST_STEPS = 1000
"""Steps of one task, with those of all routines that it calls."""


class Calls:
    """What is called and is not among `routines` counts as a single step."""

    def __init__(self, routines: Mapping[str, Routine]) -> None:
        self._calls = {
            name: [
                (number, step.uses)
                for number, step in enumerate(routine.steps)
                if step.uses is not None and step.uses in routines
            ]
            for name, routine in routines.items()
        }
        self._own = {name: max(1, len(routine.steps)) for name, routine in routines.items()}
        self._steps: dict[str, int] = {}

    def circles(self) -> Iterator[tuple[str, int, list[str]]]:
        """Routines that call each other without end: who closes the circle, by which of its steps, and the circle."""
        done: set[str] = set()
        for first in self._calls:
            trail, ahead = ([first], [iter(self._calls[first])]) if first not in done else ([], [])
            while ahead:
                number, called = next(ahead[-1], (0, None))
                if called is None:
                    ahead.pop()
                    done.add(trail.pop())
                elif called in trail:
                    yield trail[-1], number, trail[trail.index(called) :]
                elif called not in done:
                    trail.append(called)
                    ahead.append(iter(self._calls[called]))

    def too_deep(self) -> Iterator[tuple[str, int]]:
        """Who calls, and by which step, what is as deep as may be already. Only where there are no circles."""
        deep = set(self._calls)
        for _ in range(DEEPEST - 1):
            deep = {name for name in deep if any(called in deep for _, called in self._calls[name])}
        for name in self._calls:
            for number, called in self._calls[name]:
                if called in deep:
                    yield name, number
                    break

    def steps(self, called: str) -> int:
        """How many they are, with those of all that it calls. Only where nothing is too deep."""
        if called not in self._own:
            return 1
        if called not in self._steps:
            inner = sum(self.steps(name) for _, name in self._calls[called])
            self._steps[called] = self._own[called] + inner
        return self._steps[called]

    def steps_of(self, task: Task) -> int:
        called = (task.uses, *(step.uses for step in task.steps))
        return sum(1 + self.steps(uses) for uses in called if uses)

    def check(self, tasks: Iterable[Task]) -> None:
        """Raises `Invalid` for the first thing that is wrong."""
        for _, _, circle in self.circles():
            raise Invalid(f"routines call each other without end: {' → '.join([*circle, circle[0]])}")
        for name, _ in self.too_deep():
            raise Invalid(f"calls of routines are more than {DEEPEST} deep, from {name}")
        for task in tasks:
            if (count := self.steps_of(task)) > MOST_STEPS:
                message, hint = too_many(count)
                raise Invalid(message, hint=hint)


def too_many(count: int) -> tuple[str, str]:
    """What is wrong, and what to do."""
    return (
        f"with all routines that it calls the task has {count:,} steps, and {MOST_STEPS:,} is the most",
        "call fewer, or let a fan-out do it: for_each",
    )
