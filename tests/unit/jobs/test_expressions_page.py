"""Every example of docs/expressions.md means what the page says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hivemind.jobs import cron
from hivemind.jobs.expression import check, evaluate
from hivemind.jobs.expression.functions import FUNCTIONS
from hivemind.jobs.zones import moment, wall

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "expressions.md").read_text()
EXAMPLES = re.findall(r"^(\S.*\S)\s+-> (.+)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("text", "value"), EXAMPLES)
def test_examples(text: str, value: str) -> None:
    assert json.dumps(evaluate(text, {})) == value


def test_all_functions_have_an_example() -> None:
    shown = " ".join(text for text, _ in EXAMPLES)
    assert [name for name in FUNCTIONS if f"{name}(" not in shown] == ["coalesce"]


def test_the_condition_is_understood() -> None:
    check(re.findall(r"^    if: (.+)$", PAGE, re.MULTILINE)[0])


@pytest.mark.parametrize(
    ("text", "spring", "autumn"), re.findall(r"^\| `([^`]+)`: [^|]+\| ([^|]+) \| ([^|]+) \|$", PAGE, re.M)
)
def test_the_table_of_changed_clocks(text: str, spring: str, autumn: str) -> None:
    for begin, end, said in (
        ("2026-03-29T01:15", "2026-03-29T03:45", spring),
        ("2026-10-25T01:15", "2026-10-25T03:45", autumn),
    ):
        at, times = moment(begin, "Europe/Paris"), []
        while (at := cron.parse(text).after(at, "Europe/Paris") or 0) and at < moment(end, "Europe/Paris"):
            times.append(wall(at, "Europe/Paris").strftime("%H:%M"))
        expected = re.findall(r"\d\d:\d\d", said)
        assert times == (expected * 2 if "both again" in said else expected)
