"""The transitions of a run in the order in which they came about.

Marks tell the time to the millisecond, and all that follows from one event has the same. Among these the plan decides:
a task comes behind what it needs, a group begins before the tasks in it and ends behind them, and the run around all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from itertools import chain

from hivemind.jobs.plan import Node, Plan, path_of
from hivemind.model.run import Mark, RunState, TaskState

_LIVE = {str(RunState.QUEUED), str(RunState.RUNNING)}
_UNDECIDED = {str(state) for state in TaskState if not state.decided}
Key = tuple[str, ...]


class Order:
    """Keys by which the transitions of one run are sorted."""

    def __init__(self, plan: Plan) -> None:
        self._ranks = dict(_ranks(plan.root))

    def run(self, marks: Iterable[Mark]) -> Iterator[tuple[Key, Mark]]:
        """Of the run itself."""
        for number, mark in enumerate(marks):
            yield (f"{mark.time:015}", "1" if mark.state in _LIVE else "3", f"{number:04}"), mark

    def task(self, path: str, marks: tuple[Mark, ...]) -> Iterator[tuple[Key, Mark]]:
        """Of one task, group or fan-out."""
        place = self._place(path)
        for number, mark in enumerate(marks):
            last = number + 1 == len(marks) or marks[number + 1].time > mark.time
            edge = "z" if last and mark.state not in _UNDECIDED else "a"
            yield (f"{mark.time:015}", "2", *place, edge, f"{number:04}"), mark

    def _place(self, path: str) -> Key:
        """Where it stands, from the outermost group on; all begin with a letter between the edges."""
        found: list[str] = []
        way = ""
        for part in path.split("."):
            name, *indexes = part.split("[")
            way = f"{way}.{name}" if way else name
            found.append(f"m{self._ranks.get(path_of(way), 0):06}")
            found += [f"m{index[:-1]:0>9}" for index in indexes]
        return tuple(found)


def _ranks(group: Node) -> Iterator[tuple[str, int]]:
    """The path of each node and its number among those beside it, each behind what it waits for, hooks last."""
    beside: TopologicalSorter[Node] = TopologicalSorter()
    for node in group.children.values():
        beside.add(node, *node.awaited())
    for number, node in enumerate(chain(beside.static_order(), group.hooks.values())):
        yield node.path, number
        yield from _ranks(node)
