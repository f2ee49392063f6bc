"""What somebody may think of to bring the hive down: state must come through each of these, and quickly."""

from __future__ import annotations

import pytest

from hivemind.model.run import TaskState
from hivemind.state.operations import StartRun
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
