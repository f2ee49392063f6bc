"""Approvals: a person, or the time, says yes or no."""

from __future__ import annotations

from hivemind.errors import Conflict, Forbidden, NotFound
from hivemind.jobs.workflow.turn import Turn
from hivemind.model.job import Approval
from hivemind.model.run import TaskRun, TaskState


def approve(turn: Turn, place: str, approved: bool, by: str, comment: str) -> None:
    task = turn.book.get(place)
    if task is None or turn.plan.role(place) != "approval":
        raise NotFound(
            f"{place} is no approval of {turn.run.name}", hint=f"hivemind job status {turn.run.name}"
        )
    if not asked(turn, task):
        raise Conflict(f"{place} does not wait for an approval: it is {task.state}")
    allowed = _approval(turn, task).by
    if allowed and by not in allowed:
        raise Forbidden(f"{by or 'you'} may not approve {place}", hint=f"these may: {', '.join(allowed)}")
    _answer(turn, task, approved, by, comment)


def expire(turn: Turn, task: TaskRun) -> None:
    """Nobody has said anything in time."""
    approval = _approval(turn, task)
    if approval.timeout and turn.now >= task.started + round(approval.timeout * 1000):
        why = f"nobody said anything within {approval.timeout:g} s"
        if approval.default == "approve":
            _answer(turn, task, True, "", why)
        else:
            turn.decide(task, TaskState.TIMED_OUT, why)
    else:
        turn.decide(
            task, TaskState.TIMED_OUT, f"nobody said anything within {turn.node(task).task.timeout:g} s"
        )


def asked(turn: Turn, task: TaskRun) -> bool:
    """It waits for a person."""
    return task.state is TaskState.BLOCKED and task.started > 0 and turn.plan.role(task.path) == "approval"


def _answer(turn: Turn, task: TaskRun, approved: bool, by: str, comment: str) -> None:
    word = "approved" if approved else "rejected"
    why = f"{word}{by and f' by {by}'}{comment and f': {comment}'}"
    outputs = {"approved": approved, "by": by, "comment": comment}
    turn.decide(task, TaskState.SUCCEEDED if approved else TaskState.FAILED, why, by, outputs=outputs)


def _approval(turn: Turn, task: TaskRun) -> Approval:
    approval = turn.node(task).task.approval
    assert approval is not None
    return approval
