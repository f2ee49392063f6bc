"""What somebody may think of to bring the hive down: state must come through each of these, and quickly."""

from __future__ import annotations

from itertools import pairwise

import pytest

from hivemind.errors import Invalid
from hivemind.model.job import Routine, Step
from hivemind.model.routine import RoutineManifest
from hivemind.model.run import TaskState
from hivemind.state.operations import PutRoutine, StartRun
from jobs_hive import JobsHive

DEEP = "[" * 5000 + "]" * 5000
"""Whether Python can read that depends on how deep its own stack is just then."""


@pytest.fixture
def hive() -> JobsHive:
    return JobsHive()


def test_text_that_stands_for_an_input_is_not_nested_without_end(hive: JobsHive) -> None:
    hive.put(inputs={"x": {"type": "list"}}, tasks={"a": {"run": "true"}})
    outcome = hive.do(StartRun(project="default", job="job", inputs={"x": DEEP}), refused=True)
    assert "its type is list" in outcome.message


def test_an_output_is_not_nested_without_end(hive: JobsHive) -> None:
    hive.put(tasks={"a": {"run": "true", "outputs": {"x": {"type": "list", "value": "${{ outputs.x }}"}}}})
    run = hive.start()
    hive.succeed(run, "a", outputs={"x": DEEP})
    assert hive.state_of(run, "a") is TaskState.FAILED
    assert "nested" in hive.task(run, "a").reason


def test_what_an_expression_reads_from_text_is_not_nested_without_end(hive: JobsHive) -> None:
    hive.put(tasks={
        "a": {"run": "true"},
        "b": {"needs": ["a"], "if": "length(from_json(needs.a.outputs.x)) > 0", "run": "true"},
    })  # fmt: skip
    run = hive.start()
    hive.succeed(run, "a", outputs={"x": DEEP})
    assert hive.state_of(run, "b") is TaskState.FAILED


def calling(times: int, *deeper: str) -> dict[str, object]:
    return {name: {"steps": [{"uses": called}] * times} for name, called in pairwise(deeper)}


def test_routines_that_multiply_are_refused_before_anybody_counts_to_the_end(hive: JobsHive) -> None:
    chain = [f"r{number}" for number in range(9)]
    routines = {**calling(50, *chain), "r8": {"run": "true"}}
    with pytest.raises(Invalid, match="steps, and 1,000 is the most"):
        hive.put(routines=routines, tasks={"a": {"uses": "r0"}})
    hive.put(routines={**calling(1, *chain), "r8": {"run": "true"}}, tasks={"a": {"uses": "r0"}})


@pytest.mark.parametrize("times", [1, 20])
def test_a_library_grown_from_below_is_no_way_around(hive: JobsHive, times: int) -> None:
    """Each is changed to call the next one while that still calls nobody."""
    count = 1500 if times == 1 else 9
    for number in range(count):
        hive.do(PutRoutine(project="default", manifest=routine(f"r{number}", Routine(run="true"))))
    for number in range(count - 1):
        steps = (Step(uses=f"r{number + 1}"),) * times
        hive.do(PutRoutine(project="default", manifest=routine(f"r{number}", Routine(steps=steps))))
    outcome = hive.put(tasks={"a": {"uses": "r0"}}, refused=True)
    assert "deep" in outcome.message or "steps" in outcome.message


def routine(name: str, spec: Routine) -> RoutineManifest:
    return RoutineManifest(name=name, spec=spec)
