"""The shared store's main stories, to be read: each file says what it is about, and tells what the nodes see.
REWRITE=1 writes what they really do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unit.protocols.autobee.transcript import played

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_it_goes_as_told(path: Path) -> None:
    told = path.read_text().splitlines()
    happened = played(told)
    if os.environ.get("REWRITE"):
        path.write_text("\n".join(happened) + "\n")
    else:
        assert happened == told


def test_scenarios_are_found() -> None:
    assert len(SCENARIOS) >= 7
