"""Beginning: what happens to a task whose needs are met, each role in its way."""

from __future__ import annotations

from functools import lru_cache

from msgspec.structs import replace

from hivemind.jobs.expression import references, render, truth
from hivemind.jobs.plan import Node, child, is_member
from hivemind.jobs.workflow import fanout
from hivemind.jobs.workflow.turn import Turn, deadline, marked
from hivemind.model.run import TaskRun, TaskState

PAUSED = "the run is paused"
_OF_A_MEMBER = {"item", "matrix", "index"}


def ready(turn: Turn, task: TaskRun) -> None:
    """Its needs are met: it begins, unless its condition says no."""
    task = replace(task, ready=turn.now)
    with turn.charged(task):
        if _wanted(turn, task):
            go(turn, task)
        else:
            turn.decide(task, TaskState.SKIPPED, "its condition does not hold")


def go(turn: Turn, task: TaskRun, why: str = "") -> None:
    """It begins, or begins anew, unless the run is paused."""
    if turn.run.paused and task.path:
        turn.turn(task, TaskState.BLOCKED, PAUSED, due=0)
        return
    with turn.charged(task):
        match turn.plan.role(task.path):
            case "fan-out":
                fanout.open(turn, task)
            case "group":
                open_group(turn, task)
            case "approval":
                _ask(turn, task)
            case "job":
                _call(turn, task)
            case "task":
                turn.book.enqueue(marked(task, turn.now, TaskState.QUEUED, why, due=0))


def open_group(turn: Turn, group: TaskRun) -> None:
    """The tasks in it, and its hooks, get their task runs."""
    node = turn.node(group)
    if group.path:
        turn.check_room(len(node.hooks) + len(node.children))
    due = deadline(turn, node, group.path)
    turn.turn(group, TaskState.RUNNING, started=turn.now, ended=0, due=due, outputs={})
    for each in node.hooks.values():
        turn.make(child(group.path, each.id))
    for each in node.children.values():
        place = child(group.path, each.id)
        turn.make(place)
        turn.fresh.append(place)


def _wanted(turn: Turn, task: TaskRun) -> bool:
    node = turn.node(task)
    condition = node.task.if_
    if not condition or _meant_for_others(node, task.path, condition):
        return True
    return truth(condition, turn.scope(task.path))


def _meant_for_others(node: Node, place: str, condition: str) -> bool:
    """A condition that speaks of the item is for each member of a fan-out, any other for all of it."""
    return node.fans and is_member(place) != _speaks_of_members(condition)


@lru_cache(1024)
def _speaks_of_members(condition: str) -> bool:
    return any(path[0] in _OF_A_MEMBER for path in references(condition))


def _ask(turn: Turn, task: TaskRun) -> None:
    node = turn.node(task)
    approval = node.task.approval
    assert approval is not None
    message = str(render(approval.message, turn.scope(task.path)))
    limits = [limit for limit in (approval.timeout, node.task.timeout) if limit]
    due = turn.now + round(min(limits) * 1000) if limits else 0
    turn.turn(task, TaskState.BLOCKED, message or "waits for approval", started=turn.now, due=due)
    turn.book.notify("approval", f"{task.path}: {message}" if message else task.path)


def _call(turn: Turn, task: TaskRun) -> None:
    node = turn.node(task)
    assert node.task.job is not None
    inputs = render(node.task.with_, turn.scope(task.path))
    due = deadline(turn, node, task.path)
    task = replace(task, attempt=task.attempt + 1, started=task.started or turn.now, due=due)
    child = turn.book.begin_child(task, node.task.job, inputs)
    turn.turn(task, TaskState.RUNNING, child=child)
