"""What an event costs: looks and changes of records are counted, not seconds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dict_book import DictBook
from hivemind.jobs.book import Ended
from hivemind.jobs.workflow import Workflow
from hivemind.model.job import JobSpec, Task
from hivemind.model.run import RunState, TaskRun, TaskState

WELL = Ended(exit_code=0)


def chain(size: int) -> JobSpec:
    return JobSpec(
        tasks={f"t{n}": Task(run="x", needs={f"t{n - 1}": "success"} if n else {}) for n in range(size)}
    )


def wide(size: int) -> JobSpec:
    """All from one, and one from all."""
    middle = {f"m{n:04}": Task(run="x", needs={"first": "success"}) for n in range(size - 2)}
    return JobSpec(
        tasks={"first": Task(run="x"), "last": Task(run="x", needs=dict.fromkeys(middle, "done")), **middle}
    )


def layers(size: int) -> JobSpec:
    """Ten a layer, each of which needs all of the layer before."""
    tasks = {}
    for number in range(size):
        layer = number // 10
        needs = {f"t{before}": "success" for before in range(layer * 10 - 10, layer * 10)} if layer else {}
        tasks[f"t{number}"] = Task(run="x", needs=needs)
    return JobSpec(tasks=tasks)


def fanout(size: int, **given: int) -> JobSpec:
    return JobSpec(
        tasks={
            "f": Task(run="x", for_each=list(range(size)), **given),
            "g": Task(run="x", needs={"f": "done"}),
        }
    )


class Queue(DictBook):
    """Knows what is queued without looking."""

    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        self.queued: list[str] = []
        self.most = 0

    def enqueue(self, task: TaskRun) -> None:
        super().enqueue(task)
        self.queued.append(task.path)
        self.most = max(self.most, len(self.queued))


def work(spec: JobSpec, how: Ended = WELL) -> Queue:
    book = Queue(spec)
    Workflow(book.plan, book).begin()
    while book.queued:
        path = book.queued.pop(0)
        Workflow(book.plan, book).placed(path, ["a"], ["n"])
        Workflow(book.plan, book).ended(path, book.tasks[path].attempt, 0, how)
    assert book.run.state.ended
    return book


@pytest.mark.parametrize("shape", [chain, wide, layers, fanout])
def test_a_graph_of_5000_tasks_costs_ten_times_one_of_500(shape: Callable[[int], JobSpec]) -> None:
    small, large = work(shape(500)), work(shape(5000))
    assert large.run.state is RunState.SUCCEEDED
    assert large.calls < 11 * small.calls
    assert large.calls / 5000 < 80


def test_a_chain_of_5000_is_skipped_without_recursion() -> None:
    book = work(chain(5000), Ended(exit_code=1))
    assert [task.state for task in book.tasks.values()].count(TaskState.SKIPPED) == 4999


def test_a_large_fan_out_is_made_in_windows() -> None:
    book = work(fanout(20_000))
    assert (book.most, book.tasks["f"].made) == (1000, 20_000)
    assert book.calls / 20_000 < 20


def test_a_fan_out_never_runs_more_than_it_may() -> None:
    book = work(fanout(5000, max_parallel=3))
    assert (book.most, book.tasks["f"].made) == (3, 5000)
    assert book.calls / 5000 < 20


def test_one_too_many_is_refused() -> None:
    book = work(JobSpec(tasks={"f": Task(run="x", for_each=list(range(100_001)))}))
    assert book.run.reason == "f failed: 100,001 members are too many: the most is 100,000"
