"""Attempts: how they begin and end, and what the ending of one means for its task."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from hivemind.errors import Invalid
from hivemind.jobs.book import Ended
from hivemind.jobs.workflow.beginning import go
from hivemind.jobs.workflow.produced import outputs_of
from hivemind.jobs.workflow.retrying import may_retry, retry
from hivemind.jobs.workflow.turn import Turn
from hivemind.model.run import Attempt, Cause, Run, RunState, TaskRun, TaskState

KEPT = 10
"""So many of the newest attempts are remembered."""
_LOSSES = ("lost", "preempted")


def next_attempt(task: TaskRun) -> int:
    """The number that an attempt gets which is placed now. Ids of its allocations are derived from it."""
    return task.attempt + 1


def place(turn: Turn, task: TaskRun, allocations: Sequence[str], nodes: Sequence[str]) -> None:
    turn.turn(
        task,
        TaskState.RUNNING,
        attempt=next_attempt(task),
        allocations=tuple(allocations),
        nodes=tuple(nodes),
        started=task.started or turn.now,
        outputs={},
    )


def end(turn: Turn, task: TaskRun, rank: int, how: Ended) -> None:
    """One member of the attempt that runs has ended, which it had not before."""
    first = task.ending is None or _well(task.ending)
    task = replace(
        task,
        ended_members=(*task.ended_members, rank),
        ending=_attempt(turn, task, how) if first and (rank == 0 or not _well(how)) else task.ending,
        outputs=how.outputs if rank == 0 else task.outputs,
    )
    if len(task.ended_members) == len(task.allocations):
        _conclude(turn, task)
        return
    turn.put(task)
    if first and not _well(how):
        turn.book.halt(task, f"member {rank} of its gang ended: {shown(how)}")


def child_end(turn: Turn, task: TaskRun, run: Run) -> None:
    """The run of another job that it waits for has ended."""
    why = f"{run.name} {run.state}{run.reason and ': '}{run.reason}"
    how = Ended(cause=_CAUSES.get(run.state, "start"), reason=why, started=run.started)
    if run.state is RunState.SUCCEEDED:
        how = Ended(exit_code=0, reason=run.name, outputs=run.outputs, started=run.started)
    _conclude(turn, replace(task, ending=_attempt(turn, task, how), outputs=how.outputs))


_CAUSES: dict[RunState, Cause] = {
    RunState.FAILED: "exit",
    RunState.TIMED_OUT: "timeout",
    RunState.CANCELED: "canceled",
}


def shown(how: Ended | Attempt) -> str:
    """In a few words."""
    if how.reason:
        return how.reason
    if how.cause == "exit" and how.exit_code is not None:
        return f"exit code {how.exit_code}"
    return {"oom": "out of memory", "start": "it could not be started", "exit": "it ended"}.get(
        how.cause, how.cause
    )


def _conclude(turn: Turn, task: TaskRun) -> None:
    """All of the attempt has ended."""
    attempt = task.ending
    assert attempt is not None
    over = replace(
        task,
        allocations=(),
        ended_members=(),
        ending=None,
        outputs={},
        exit_code=attempt.exit_code,
        attempts=(*task.attempts[1 - KEPT :], attempt),
    )
    why = shown(attempt)
    if _well(attempt):
        _produce(turn, over, task)
    elif task.fate is not None:
        turn.decide(over, task.fate, task.reason)
    elif attempt.cause == "canceled":
        turn.decide(over, TaskState.CANCELED, why)
    elif attempt.cause == "circuit":
        # Behind the others that wait for it: a task that fails whatever its circuit is must not be every probe.
        go(turn, replace(over, ready=turn.now), why)
    elif attempt.cause in _LOSSES:
        _lose(turn, over, why)
    else:
        _fail(turn, over, attempt.cause, why)


def _produce(turn: Turn, task: TaskRun, written: TaskRun) -> None:
    try:
        outputs = outputs_of(turn, task, written.outputs)
    except Invalid as error:
        _fail(turn, task, "exit", error.message)
    else:
        turn.decide(task, TaskState.SUCCEEDED, outputs=outputs)


def _lose(turn: Turn, task: TaskRun, why: str) -> None:
    """That was nobody's fault: it is begun anew, but not for ever."""
    if task.losses >= turn.node(task).task.retry.losses:
        turn.decide(task, TaskState.LOST, f"{why}, after {task.losses} new beginnings")
    else:
        go(turn, replace(task, losses=task.losses + 1), why)


def _fail(turn: Turn, task: TaskRun, cause: Cause, why: str) -> None:
    """It failed: there is a further attempt, or that is its outcome."""
    if task.fate is not None:
        turn.decide(task, task.fate, task.reason)
    elif may_retry(turn, task, cause, why):
        retry(turn, task, why)
    else:
        turn.decide(task, TaskState.TIMED_OUT if cause == "timeout" else TaskState.FAILED, why)


def _attempt(turn: Turn, task: TaskRun, how: Ended) -> Attempt:
    return Attempt(
        number=task.attempt,
        allocations=task.allocations,
        nodes=task.nodes,
        started=how.started,
        ended=turn.now,
        cause=how.cause,
        exit_code=how.exit_code,
        reason=how.reason,
    )


def _well(ended: Ended | Attempt) -> bool:
    return ended.cause == "exit" and ended.exit_code == 0
