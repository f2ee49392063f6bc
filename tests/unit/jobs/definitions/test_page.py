"""The page of definitions: every example on it is well, and every key there is stands on it."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from hivemind.cli.jobfile import examine
from hivemind.jobs.definition.words import JOB_SUGAR, TASK_SUGAR
from hivemind.model import job as nouns

PAGE = Path(__file__).parents[4] / "docs" / "job-definitions.md"
BLOCKS = re.findall(r"```(yaml|python)\n(.*?)```", PAGE.read_text(), re.S)
NOUNS = [kind for kind in vars(nouns).values() if isinstance(kind, msgspec.StructMeta)
         and issubclass(kind, nouns.Spec) and kind.__module__ == nouns.__name__]  # fmt: skip


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_example_is_well(number: int, tmp_path: Path) -> None:
    kind, text = BLOCKS[number]
    file = tmp_path / ("job.yaml" if kind == "yaml" else "job.py")
    file.write_text(text)
    assert [mistake.shown() for job in examine(str(file)) for mistake in job.mistakes] == []


def test_every_key_is_told() -> None:
    keys = {field.encode_name for kind in NOUNS for field in msgspec.structs.fields(kind)} - {"spec"}
    words = set(re.findall(r"[A-Za-z_]+", PAGE.read_text()))
    assert sorted((keys | set(TASK_SUGAR) | set(JOB_SUGAR)) - words) == []
