"""Pausing: what runs goes on, nothing further begins."""

from __future__ import annotations

from msgspec.structs import replace

from hivemind.jobs.workflow.approvals import asked
from hivemind.jobs.workflow.beginning import PAUSED, go
from hivemind.jobs.workflow.turn import MARKS, Turn
from hivemind.model.run import Mark, TaskRun, TaskState


def pause(turn: Turn, by: str) -> None:
    if turn.run.paused or turn.run.state.ended:
        return
    _mark(turn, True, by)
    for task in list(turn.live(turn.found(""))):
        if task.state is TaskState.QUEUED:
            turn.turn(task, TaskState.BLOCKED, PAUSED, by, due=0)


def unpause(turn: Turn, by: str) -> None:
    if not turn.run.paused:
        return
    _mark(turn, False, by)
    let_go(turn)


def let_go(turn: Turn) -> None:
    """What waited for the end of a pause begins."""
    for task in list(turn.live(turn.found(""))):
        if _held(turn, task):
            go(turn, task)


def _mark(turn: Turn, paused: bool, by: str) -> None:
    run = turn.run
    mark = Mark(turn.now, str(run.state), "paused" if paused else "no longer paused", by)
    turn.book.put_run(replace(run, paused=paused, marks=(*run.marks[1 - MARKS :], mark)))


def _held(turn: Turn, task: TaskRun) -> bool:
    """It would have begun, but for the pause."""
    return task.state is TaskState.BLOCKED and not task.due and not asked(turn, task)
