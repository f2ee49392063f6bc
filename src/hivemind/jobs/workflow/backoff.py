"""How long a task waits before its next attempt."""

from __future__ import annotations

from hivemind.model.job import Retry
from hivemind.model.names import derive_id
from hivemind.model.run import TaskRun

_PARTS = 1 << 20


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
