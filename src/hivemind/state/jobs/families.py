"""The task runs of each run, and how many of each group or fan-out are in which state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set

from hivemind.jobs.plan import parent_of
from hivemind.model.run import TaskRun, TaskState

_NONE: Mapping[TaskState, int] = {}


class Families:
    """Of all runs."""

    def __init__(self) -> None:
        self._paths: dict[str, set[str]] = {}
        self._tallies: dict[str, dict[str, Counter[TaskState]]] = {}

    def reindex(self, old: TaskRun | None, new: TaskRun | None) -> None:
        if old is not None and new is not None and old.state is new.state:
            return
        if old is not None:
            self._count(old, -1)
        if new is not None:
            self._count(new, 1)
        if old is None and new is not None:
            self._paths.setdefault(new.run, set()).add(new.path)
        elif new is None and old is not None:
            paths = self._paths[old.run]
            paths.discard(old.path)
            if not paths:
                del self._paths[old.run], self._tallies[old.run]

    def _count(self, task: TaskRun, by: int) -> None:
        self._tallies.setdefault(task.run, {}).setdefault(parent_of(task.path), Counter())[task.state] += by

    def paths(self, run: str) -> Set[str]:
        """Of all its task runs, groups and fan-outs included."""
        return self._paths.get(run, frozenset())

    def parents(self, run: str) -> list[str]:
        """Paths of the groups and fan-outs below which something is; empty: the run itself."""
        return list(self._tallies.get(run, ()))

    def tally(self, run: str, parent: str) -> Mapping[TaskState, int]:
        return self._tallies.get(run, {}).get(parent, _NONE)
