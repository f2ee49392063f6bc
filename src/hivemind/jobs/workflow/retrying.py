"""Retrying: whether what has failed is tried again, and how long it waits before."""

from __future__ import annotations

from msgspec.structs import replace

from hivemind.jobs.book import Ended
from hivemind.jobs.failures import matches
from hivemind.jobs.workflow.beginning import go
from hivemind.jobs.workflow.turn import Turn
from hivemind.model.job import Retry
from hivemind.model.names import derive_id
from hivemind.model.run import Cause, TaskRun, TaskState

_PARTS = 1 << 20


def may_retry(turn: Turn, task: TaskRun, cause: Cause, why: str) -> bool:
    retry = turn.node(task).task.retry
    how = Ended(cause=cause, exit_code=task.exit_code, reason=why)
    return task.spent < retry.max and (not retry.on or matches(retry.on, how, task.attempt))


def retry(turn: Turn, task: TaskRun, why: str) -> None:
    wait = delay(turn.node(task).task.retry, task)
    task = replace(task, spent=task.spent + 1, fate=None)
    if wait:
        why = f"{why}; tried again in {wait / 1000:g} s"
        turn.turn(task, TaskState.BLOCKED, why, due=turn.now + wait)
    else:
        go(turn, task, f"{why}; tried again")


def delay(retry: Retry, task: TaskRun) -> int:
    """Milliseconds. Every node computes the same: it multiplies, as powers are not rounded alike everywhere, and its
    dice are run, task, attempt and what it has spent."""
    seconds = retry.delay
    for _ in range(task.spent):
        if seconds >= retry.max_delay or retry.backoff == 1:
            break
        seconds *= retry.backoff
    seconds = min(seconds, retry.max_delay)
    if retry.jitter:
        drawn = int(derive_id("jitter", task.run, task.path, task.attempt, task.spent, length=4), 36) % _PARTS
        seconds *= 1 - retry.jitter * drawn / _PARTS
    return round(seconds * 1000)
