"""Large tasks and gangs find a place, however many smaller ones come after them."""

from __future__ import annotations

from typing import Any

import pytest

from hivemind.model.run import Run, TaskState
from hivemind.state.jobs.explain import why
from hivemind.state.jobs.reserving import PATIENCE
from hivemind.state.operations import PauseQueue
from jobs_hive import JobsHive

MINUTE = 60_000


def crowded(machines: int = 1, **large: Any) -> tuple[JobsHive, Run]:
    """Every core of machines with four each is taken; a large task waits, and a hundred small ones came after it."""
    hive = JobsHive(nodes=machines)
    hive.put("small", tasks={"s": {"run": "x", "for_each": list(range(100)), "resources": {"cpus": 1}}})
    hive.put("large", tasks={"l": {"run": "x", "resources": {"cpus": 4}, **large}})
    hive.start("small")
    run = hive.start("large", priority=100)
    hive.start("small")
    return hive, run


def turns(hive: JobsHive, minutes: int) -> int:
    """The oldest small task ends each minute; how many were begun meanwhile."""
    before = {attempt.id for attempt in hive.attempts()}
    for _ in range(minutes):
        hive.until(hive.time + MINUTE)
        small = [attempt for attempt in hive.attempts() if attempt.path.startswith("s")]
        if small:
            hive.end(min(small, key=lambda attempt: (attempt.placed, attempt.id)))
    return len({attempt.id for attempt in hive.attempts()} - before)


@pytest.mark.parametrize(
    ("machines", "large"),
    [
        (1, {}),
        (2, {}),
        (3, {"nodes": 2}),
        (2, {"nodes": 2, "resources": {"cpus": 3}}),
        (1, {"nodes": 2, "share_nodes": True, "resources": {"cpus": 2}}),
    ],
)
def test_what_has_waited_long_gets_its_room(machines: int, large: dict[str, Any]) -> None:
    hive, run = crowded(machines, **large)
    turns(hive, 9)
    assert hive.state_of(run, "l") is TaskState.QUEUED, "smaller ones go before it for a while"
    turns(hive, 4 * machines + 2)
    assert hive.state_of(run, "l") is TaskState.RUNNING


def test_room_is_kept_when_it_is_time_without_anything_happening() -> None:
    hive, run = crowded()
    hive.until(hive.task(run, "l").ready + PATIENCE)
    assert hive.task(run, "l").promised == ("node-0",)
    assert "node-0" in why(hive.state, hive.task(run, "l"))
    hive.restart()
    turns(hive, 4)
    assert hive.state_of(run, "l") is TaskState.RUNNING


def test_what_takes_no_room_goes_on() -> None:
    hive, run = crowded()
    hive.put("tiny", tasks={"t": {"run": "x"}})
    hive.until(hive.time + PATIENCE + MINUTE)
    assert hive.task(run, "l").promised
    assert hive.state_of(hive.start("tiny"), "t") is TaskState.RUNNING


def test_other_nodes_are_not_kept_free() -> None:
    hive, run = crowded(2)
    hive.until(hive.time + PATIENCE + MINUTE)
    [kept] = hive.task(run, "l").promised
    hive.end(next(attempt for attempt in hive.attempts() if attempt.node == kept))
    first = next(task for task in hive.state.work.queued() if task.path.startswith("s"))
    assert why(hive.state, first).startswith("what is free is kept for large-1.l")
    other = next(attempt for attempt in hive.attempts() if attempt.node != kept)
    hive.end(other)
    assert sum(attempt.node == other.node for attempt in hive.attempts()) == 4


def test_nothing_is_kept_for_what_fits_nowhere_or_may_not_begin() -> None:
    hive, run = crowded(resources={"cpus": 5})
    hive.until(hive.time + PATIENCE + MINUTE)
    assert not hive.task(run, "l").promised

    hive, run = crowded(concurrency={"key": "k", "limit": 1})
    hive.until(hive.time + PATIENCE + MINUTE)
    assert hive.task(run, "l").promised
    hive.do(PauseQueue(project="default", key="k", paused=True))
    assert not hive.task(run, "l").promised
    assert turns(hive, 8) == 4, "small ones take what was kept"


def test_who_is_canceled_keeps_nothing() -> None:
    hive, run = crowded()
    hive.until(hive.time + PATIENCE + MINUTE)
    turns(hive, 2)
    assert len(hive.attempts()) == 2
    hive.cancel(run)
    assert len(hive.attempts()) == 4
