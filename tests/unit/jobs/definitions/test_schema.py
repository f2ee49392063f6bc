"""The published schema is up to date, and agrees with the reader about every example."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from hivemind.cli.jobfile import examine
from hivemind.jobs.definition.schema import document, text
from hivemind.protocols.yaml12 import documents

ROOT = Path(__file__).parents[4]
EXAMPLES = sorted(file for file in (ROOT / "examples" / "jobs").iterdir() if file.suffix in (".yaml", ".py"))
BAD = Path(__file__).parent / "bad"
SCHEMA: Any = jsonschema_rs.validator_for(document())


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "job.schema.json").read_text() == text(document()), "run ./run docs"


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_examples_are_well(file: Path) -> None:
    assert [mistake.shown() for job in examine(str(file)) for mistake in job.mistakes] == []
    if file.suffix == ".yaml":
        for located in documents(file.read_text(), file.name):
            assert [error.message for error in SCHEMA.iter_errors(located.value)] == []


def test_there_are_twelve_examples() -> None:
    assert len(EXAMPLES) >= 12


@pytest.mark.parametrize(
    "name",
    ["unknown-key", "unknown-key-at-top", "no-name", "no-tasks", "tasks-as-list", "bad-task-id", "bad-missed-policy",
     "webhook-without-secret", "priority-too-high", "bad-name", "unquoted-text", "unknown-type"],
)  # fmt: skip
def test_what_an_editor_can_tell_it_tells(name: str) -> None:
    (located,) = documents((BAD / f"{name}.yaml").read_text(), name)
    assert not SCHEMA.is_valid(located.value)
