"""Bad definitions, a file each; its first comments are what is said of it: `# line:column: message`, `#   hint`."""

from __future__ import annotations

from pathlib import Path

import pytest

from hivemind.cli.jobfile import examine
from hivemind.cli.main import main

FILES = sorted((Path(__file__).parent / "bad").glob("*.yaml"))


def test_there_are_enough_of_them() -> None:
    assert len(FILES) >= 50


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_mistake_is_told_where_it_is(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    said = []
    for job in examine(file.name):
        assert job.manifest is None
        for mistake in job.mistakes:
            said.append(f"# {mistake.line}:{mistake.column}: {mistake.message}")
            said += [f"#   {mistake.hint}"] if mistake.hint else []
    lines = file.read_text().splitlines()
    assert said == lines[: len(said)]
    assert not lines[len(said)].startswith("# ") or file.stem == "empty"


def test_the_command_shows_the_line_with_a_caret(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FILES[0].parent)
    assert main(["job", "validate", "unknown-key.yaml"]) == 2
    assert capsys.readouterr().out == (
        "unknown-key.yaml:6:5: a task has no key 'imagee'\n"
        "        imagee: python:3.12\n"
        "        ^\n"
        "    did you mean 'image'?\n"
    )


def test_programs_get_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    monkeypatch.chdir(FILES[0].parent)
    assert main(["job", "validate", "unknown-key.yaml", "nowhere.yaml", "-o", "json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert not found["ok"]
    assert found["mistakes"][0] == {
        "file": "unknown-key.yaml", "line": 6, "column": 5, "message": "a task has no key 'imagee'",
        "hint": "did you mean 'image'?",
    }  # fmt: skip
    assert "cannot be read" in found["mistakes"][1]["message"]
