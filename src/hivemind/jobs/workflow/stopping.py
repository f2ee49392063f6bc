"""Stopping: of what was begun nothing goes on, of the rest nothing begins. For cancels, timeouts and first failures."""

from __future__ import annotations

from hivemind.jobs.workflow.turn import Turn
from hivemind.model.run import TaskRun, TaskState


def stop(
    turn: Turn,
    task: TaskRun,
    fate: TaskState,
    why: str,
    by: str = "",
    *,
    kill: bool = False,
    spared: frozenset[str] = frozenset(),
    also_finally: bool = False,
) -> None:
    """Whatever of it runs is told to stop, and the rest is canceled; what it is itself, when all of that has come to
    an end, is its fate. Parts at places in `spared` go on, and so do `finally` hooks, unless they shall not."""
    if task.state.decided:
        return
    if task.state is not TaskState.RUNNING:
        turn.decide(task, fate, why, by)
        return
    first = task.fate in (None, TaskState.FAILED) and task.fate is not fate and not cleaning(turn, task)
    if first:
        task = turn.turn(task, TaskState.RUNNING, why, by, fate=fate, due=0)
    if turn.plan.role(task.path) not in ("group", "fan-out"):
        if first or kill:
            turn.book.halt(task, why, kill=kill)
        return
    for part in list(turn.parts(task)):
        if part.path in spared or _goes_on(turn, part, also_finally):
            continue
        stop(turn, part, TaskState.CANCELED, why, by, kill=kill, also_finally=also_finally)


def cleaning(turn: Turn, group: TaskRun) -> bool:
    """All that is left of it is its `finally`."""
    return any(_cleans_up(turn, hook) and _began(hook) for hook in turn.hooks(group))


def _began(task: TaskRun) -> bool:
    return task.state is not TaskState.PENDING and not task.state.decided


def _goes_on(turn: Turn, part: TaskRun, also_finally: bool) -> bool:
    """A `finally` does, by and by; the other hooks do not get their turn if they had none."""
    return not also_finally if _cleans_up(turn, part) else turn.waits_its_turn(part)


def _cleans_up(turn: Turn, part: TaskRun) -> bool:
    return turn.node(part).hook and turn.node(part).id == "finally"
