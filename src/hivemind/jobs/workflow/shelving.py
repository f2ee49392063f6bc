"""Shelving: what is to be done again, but only when what it is in has begun anew.

It counts as skipped until then, so that nothing waits for it; its attempt numbers are kept, for they go on rising. So
does a group of which only some is to be done again, where it has to wait for its turn: the rest of it stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator

from hivemind.jobs.plan import member
from hivemind.jobs.workflow.turn import Turn, fans
from hivemind.model.run import TaskRun, TaskState

AGAIN = "it is to be done again"
LATER = "some of it is to be done again"


def shelve(turn: Turn, task: TaskRun) -> None:
    """All in it, at any depth."""
    for part in _all_parts(turn, task):
        shelve(turn, part)
        put_away(turn, part)


def put_away(turn: Turn, task: TaskRun) -> None:
    if not shelved(task) or is_put_off(task):
        turn.make(task.path, AGAIN, TaskState.SKIPPED, index=task.index, item=task.item, ended=turn.now)


def shelved(task: TaskRun) -> bool:
    return task.state is TaskState.SKIPPED and task.reason in (AGAIN, LATER)


def put_off(turn: Turn, group: TaskRun) -> None:
    """It will go on, with its hooks, and what is shelved in it."""
    for hook in list(turn.hooks(group)):
        shelve(turn, hook)
        put_away(turn, hook)
    turn.turn(group, TaskState.SKIPPED, LATER, ended=turn.now)


def is_put_off(task: TaskRun) -> bool:
    return task.state is TaskState.SKIPPED and task.reason == LATER


def _all_parts(turn: Turn, task: TaskRun) -> Iterator[TaskRun]:
    """The members that a fan-out has not come to this time, too."""
    if not fans(turn.node(task), task.path):
        yield from turn.parts(task)
        return
    for index in range(task.total):
        if (part := turn.book.get(member(task.path, index))) is not None:
            yield part
