"""The examples of docs/workflows.md do what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
import yaml

from hivemind.jobs.definition import read
from unit.jobs.workflow.test_scenarios import told

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "workflows.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == PAGE.count("```yaml") == PAGE.count("```text") == 3


@pytest.mark.parametrize(("definition", "transcript"), EXAMPLES)
def test_example(definition: str, transcript: str) -> None:
    spec = msgspec.to_builtins(read({"name": "etl", **yaml.safe_load(definition)}).spec)
    assert "\n".join(told(f"{yaml.safe_dump(spec)}---\n{transcript}")).split("---\n")[1] + "\n" == transcript
