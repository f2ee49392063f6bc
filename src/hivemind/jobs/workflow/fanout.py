"""Fan-outs: one task for each of many items, a window of them at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from hivemind.errors import Invalid
from hivemind.jobs.expression import evaluate, holds_secret, render
from hivemind.jobs.matrix import combinations
from hivemind.jobs.plan import member
from hivemind.jobs.workflow.reopening import take_up
from hivemind.jobs.workflow.shelving import is_put_off, shelved
from hivemind.jobs.workflow.stopping import stop
from hivemind.jobs.workflow.turn import FULL, Turn
from hivemind.model.job import Task
from hivemind.model.run import TaskRun, TaskState

WINDOW = 1000
"""Members that are made, and undecided, at a time, where `max_parallel` says nothing. A hundred thousand would crowd
the queue to no purpose."""
BURST = 3000
"""Task runs that one event makes, about: beyond them each fan-out has one member at a time, and as many as it may have
by and by. Windows within windows would multiply, and everybody waits for an event to be dealt with."""
MOST = 100_000
"""Members of one fan-out."""


def open(turn: Turn, task: TaskRun) -> None:
    """The fan-out begins: its items are decided for good. Raises `Invalid`."""
    node = turn.node(task)
    items = _items(node.task, turn.scope(task.path))
    if len(items) > MOST:
        raise Invalid(f"{len(items):,} members are too many: the most is {MOST:,}")
    if not items:
        turn.decide(task, TaskState.SUCCEEDED, "there are no items", started=turn.now, total=0, made=0)
        return
    turn.check_room(1)
    turn.book.put_items(task.path, items)
    task = turn.turn(task, TaskState.RUNNING, started=turn.now, ended=0, due=0, total=len(items), made=0)
    refill(turn, task)


def refill(turn: Turn, fanout: TaskRun) -> TaskRun:
    """Makes the next members, as many as there is room for; some of a resumed run only go on."""
    if fanout.fate or fanout.made == fanout.total:
        return fanout
    undecided, most = turn.undecided(fanout), turn.node(fanout).task.max_parallel or WINDOW
    made, items = fanout.made, turn.book.items(fanout.path)
    while made < fanout.total and undecided < (most if turn.made < BURST else 1):
        place = member(fanout.path, made)
        if (old := turn.book.get(place)) is None and not turn.book.room:
            stop(turn, turn.put(replace(fanout, made=made)), TaskState.FAILED, FULL)
            return turn.found(fanout.path)
        if old is not None and is_put_off(old):
            take_up(turn, old)
            undecided += 1
        elif old is None or shelved(old):
            turn.make(place, index=made, item=items[made])
            turn.fresh.append(place)
            undecided += 1
        made += 1
    return turn.put(replace(fanout, made=made))


def _items(task: Task, scope: Mapping[str, Any]) -> list[Any]:
    if task.for_each is not None:
        return _list("for_each", task.for_each, scope)
    values = {name: _list(f"matrix.{name}", given, scope) for name, given in task.matrix.items()}
    include, exclude = render(task.include, scope), render(task.exclude, scope)
    _refuse_secrets("the matrix", [include, exclude])
    return combinations(values, include, exclude, MOST)


def _list(what: str, given: Any, scope: Mapping[str, Any]) -> list[Any]:
    found = evaluate(given, scope) if isinstance(given, str) else render(given, scope)
    if not isinstance(found, list):
        raise Invalid(
            f"{what} is no list", hint="lists are written [1, 2]; an output of type list gives one, too"
        )
    _refuse_secrets(what, found)
    return found


def _refuse_secrets(what: str, items: Any) -> None:
    if holds_secret(items):
        raise Invalid(f"{what} holds a secret, and items can be seen by everyone")
