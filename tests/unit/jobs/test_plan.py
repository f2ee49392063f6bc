"""The plan of a definition: what is in what, and what waits for what."""

from __future__ import annotations

import pytest

from hivemind.errors import Invalid
from hivemind.jobs.plan import PASSED, Node, Plan, beside, fanout_of, index_of, parent_of
from hivemind.model.job import Approval, JobSpec, Task

RUN = Task(run="x")
AFTER_B = Task(run="x", needs={"b": "done"})


def plan(**spec: object) -> Plan:
    return Plan(JobSpec(**{"tasks": {"a": RUN}, **spec}))  # type: ignore[arg-type]


def named(needs: dict[Node, str]) -> dict[str, str]:
    return {node.path: need for node, need in needs.items()}


def test_paths_roles_and_hooks() -> None:
    group = Task(tasks={"x": RUN, "y": Task(approval=Approval())}, finally_={"z": RUN}, for_each=[1])
    made = plan(tasks={"g": group, "j": Task(job="other")}, on_failure={"page": RUN})
    assert {path: node.role for path, node in made.nodes.items()} == {
        "": "group", "g": "group", "g.x": "task", "g.y": "approval", "g.finally": "group", "g.finally.z": "task",
        "j": "job", "on_failure": "group", "on_failure.page": "task",
    }  # fmt: skip
    assert [made.role(place) for place in ("g", "g[3]", "g[3].x", "g[3].finally")] == [
        "fan-out", "group", "task", "group",
    ]  # fmt: skip
    assert made.node("g[12].finally.z").path == "g.finally.z"


def test_needs_are_those_of_the_group_first_and_then_of_those_around() -> None:
    inner = Task(tasks={"a": RUN, "b": Task(run="x", needs={"a": "success", "c": "done"})})
    made = plan(tasks={"a": RUN, "c": RUN, "g": inner})
    assert named(made.node("g.b").needs) == {"g.a": "success", "c": "done"}
    assert made.node("c").dependents == [made.node("g.b")]


def test_a_sequence_follows_its_order_and_keeps_what_was_written() -> None:
    tasks = {"a": RUN, "b": Task(run="x", needs={"c": "always"}), "c": RUN}
    made = plan(tasks=tasks, sequence=True, order=("c", "b", "a"))
    assert [named(made.node(path).needs) for path in "cba"] == [{}, {"c": "always"}, {"b": PASSED}]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({"a": AFTER_B}, "a needs b, which is no task that it could wait for"),
        ({"a": Task(run="x", needs={"a": "done"})}, "a needs a, which is no task that it could wait for"),
        ({"g": Task(tasks={"a": Task(run="x", needs={"g": "done"})})}, "g.a needs g, which is no task"),
        ({"a": AFTER_B, "b": Task(run="x", needs={"a": "done"})}, "a → b"),
        ({"g": Task(tasks={"x": AFTER_B}), "b": Task(run="x", needs={"g": "done"})}, "b → g → g.x"),
    ],
)  # fmt: skip
def test_what_could_never_begin_is_refused(tasks: dict[str, Task], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        plan(tasks=tasks)


def test_a_plan_is_made_once() -> None:
    spec = JobSpec(tasks={"a": RUN})
    assert Plan.of(spec) is Plan.of(spec)
    assert Plan.of(spec) is not Plan.of(JobSpec(tasks={"a": RUN}))


def test_places() -> None:
    assert [parent_of(place) for place in ("a", "a[1]", "a[1].b", "a[1].b[0]", "a.b.c")] == [
        "", "a", "a[1]", "a[1].b", "a.b",
    ]  # fmt: skip
    assert (fanout_of("a[1].b[20]"), index_of("a[1].b[20]"), index_of("a[1].b")) == ("a[1].b", 20, -1)
    made = plan(tasks={"g": Task(tasks={"x": RUN, "y": RUN}, for_each=[1]), "h": RUN})
    assert [beside("g[4].x", made.node(path)) for path in ("g.y", "h")] == ["g[4].y", "h"]


def test_a_group_cannot_end_without_what_the_tasks_in_it_need() -> None:
    inner = Task(tasks={"x": Task(run="x", needs={"a": "done"}), "y": Task(run="x", needs={"x": "success"})})
    made = plan(tasks={"a": RUN, "c": RUN, "g": Task(tasks=inner.tasks, needs={"c": "success"})})
    assert named(made.node("g").awaited()) == {"c": "success", "a": "done"}
    assert named(made.node("g.x").awaited()) == {}
    assert named(made.node("g.y").awaited()) == {"g.x": "success"}
