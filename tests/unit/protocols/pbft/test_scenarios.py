"""The protocol's rules as stories that can be read: each file names the rule it is about, and tells what the nodes
do. REWRITE=1 writes what they really do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unit.protocols.pbft.transcript import played

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
    assert len(SCENARIOS) >= 15
