"""What came about in the same millisecond is told in the order in which it followed."""

from __future__ import annotations

from hivemind.api.jobs.transitions import Order
from hivemind.jobs.plan import Plan
from hivemind.model.job import JobSpec, Task
from hivemind.model.run import Mark

RUN = Task(run="x")
PLAN = Plan(
    JobSpec(
        tasks={
            "z": Task(tasks={"b": RUN, "a": Task(run="x", needs={"b": "success"})}, for_each=[1, 2]),
            "c": Task(run="x", needs={"z": "success"}),
        },
        finally_={"a": RUN},
    )
)


def told(run: str, **tasks: str) -> list[str]:
    """All of it in one moment; `tasks` by path, `_` for a dot."""
    order = Order(PLAN)
    entries = [(key, f"run {mark.state}") for key, mark in order.run(marks(run))]
    for path, states in tasks.items():
        path = path.replace("_", ".").replace("1", "[1]")
        entries += [(key, f"{path} {mark.state}") for key, mark in order.task(path, marks(states))]
    return [what for _, what in sorted(entries)]


def marks(states: str) -> tuple[Mark, ...]:
    return tuple(Mark(7, state) for state in states.split())


def test_a_group_begins_before_what_is_in_it() -> None:
    assert told("queued running", z1_b="queued running", z1="running", z="running") == [
        "run queued", "run running", "z running", "z[1] running", "z[1].b queued", "z[1].b running",
    ]  # fmt: skip


def test_it_ends_behind_what_is_in_it_and_the_run_behind_all() -> None:
    assert told("failed", c="skipped", z="failed", z1="failed", z1_a="skipped", z1_b="failed", finally_a="running") == [
        "z[1].b failed", "z[1].a skipped", "z[1] failed", "z failed", "c skipped", "finally.a running", "run failed",
    ]  # fmt: skip


def test_the_marks_of_one_task_stay_in_their_order() -> None:
    assert told("", c="skipped pending queued") == ["c skipped", "c pending", "c queued"]
