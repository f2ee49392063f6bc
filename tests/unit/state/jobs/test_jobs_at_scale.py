"""What an event costs does not grow with what waits: counted in records that are looked at, not in time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from hivemind.jobs.queue import Queue
from hivemind.model.job import JobManifest, JobSpec, Schedule, Task, Triggers
from hivemind.state.deadlines import Deadlines
from hivemind.state.operations import PutJob
from hivemind.state.tables import Table
from jobs_hive import JobsHive

SMALL, LARGE = 300, 3000


class Looked:
    records = 0


@contextmanager
def counting() -> Iterator[Looked]:
    looked, get, walk = Looked(), Table.__getitem__, Table.__iter__

    def counted_get(table: Table[Any], key: str) -> Any:
        looked.records += 1
        return get(table, key)

    def counted_walk(table: Table[Any]) -> Iterator[str]:
        looked.records += len(table)
        return walk(table)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Table, "__getitem__", counted_get)
        patch.setattr(Table, "__iter__", counted_walk)
        yield looked


def waiting(count: int) -> JobsHive:
    """So many tasks wait, half of them for a limit that each shares with a few others."""
    hive = JobsHive(slots=4)
    limited = {"run": "true", "concurrency": {"key": "k${{ inputs.n }}", "limit": 1}}
    hive.put(
        inputs={"n": {"type": "integer", "default": 0}},
        tasks={
            "a": {"run": "true", "for_each": list(range(50))},
            "b": {**limited, "for_each": list(range(50))},
        },
    )
    for index in range(count // 100):
        hive.start(inputs={"n": index})
    return hive


def test_the_end_of_a_task_costs_the_same_however_many_wait() -> None:
    costs = []
    for count in (SMALL, LARGE):
        hive = waiting(count)
        assert len(hive.state.work.tasks) > count * 0.9
        with counting() as looked:
            for _ in range(20):
                hive.end(hive.attempts()[0])
        costs.append(looked.records)
    assert costs[1] < costs[0] * 1.5


def test_a_timer_costs_the_same_however_many_schedules_there_are() -> None:
    costs = []
    for count in (SMALL, LARGE):
        hive = JobsHive(slots=4)
        for index in range(count):
            schedule = Schedule(every=3600.0 + index)
            spec = JobSpec(tasks={"a": Task(run="true")}, triggers=Triggers(schedule=(schedule,)))
            hive.do(PutJob(project="default", manifest=JobManifest(name=f"j{index}", spec=spec)))
        due = hive.state.deadline()
        assert due
        with counting() as looked:
            hive.until(due)
        assert len(hive.state.runs) >= 1
        costs.append(looked.records / len(hive.state.runs))
    assert costs[1] < costs[0] * 1.5


def test_a_queue_of_many_lanes_looks_only_at_those_that_may_be_next() -> None:
    queue = Queue()
    for index in range(10_000):
        queue.put(f"item{index}", index, 0, f"lane{index % 5000}", ("p", "place"))
    first = queue.next(lambda project: 0)
    assert first and first.item == "item0"
    queue.set_aside(first.group)
    assert queue.next(lambda project: 0) is None
    queue.room()
    for index in range(5000):
        choice = queue.next(lambda project: 0)
        assert choice and choice.item == f"item{index}"
        queue.park(choice.lane, (("key", "p", str(choice.lane)),))
    assert queue.next(lambda project: 0) is None
    queue.wake(("key", "p", "lane7"))
    choice = queue.next(lambda project: 0)
    assert choice and choice.item == "item7"
    queue.drop("item7")
    choice = queue.next(lambda project: 0)
    assert choice and choice.item == "item5007"


def test_deadlines_are_put_off_and_taken_back() -> None:
    deadlines = Deadlines()
    for index in range(1000):
        deadlines.put(("task", str(index)), 1000 + index)
    deadlines.put(("task", "0"), 5000)
    deadlines.pop(("task", "1"))
    assert deadlines.first() == 1002
    assert deadlines.passed(1003) == [("task", "2"), ("task", "3")]
    for _ in range(10_000):
        deadlines.put(("task", "4"), 1004)
        deadlines.put(("task", "4"), 9000)
    assert len(deadlines._heap) < 10_000 and deadlines.first() == 1005
