"""Stories of membership, told as transcripts: events, and all that follows from each, indented.

`member`: one member, by what is said to it; `hive`: several of them in a network. After a change of mind
`python -m unit.protocols.swim.test_scenarios`, in `tests`, writes them anew, to be reviewed as a difference.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from unit.protocols.swim.hive_teller import HiveTeller
from unit.protocols.swim.member_teller import MemberTeller

TELLERS: dict[str, type[HiveTeller] | type[MemberTeller]] = {"member": MemberTeller, "hive": HiveTeller}
SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*/*.txt"))


def told(path: Path) -> Iterator[str]:
    """The transcript, as it is now."""
    teller = TELLERS[path.parent.name]()
    for line in path.read_text().splitlines():
        if not line.startswith("  "):
            yield line
            if line and not line.startswith("#"):
                yield from (f"  {each}" for each in teller.tell(line))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_scenario(path: Path) -> None:
    assert "\n".join(told(path)) + "\n" == path.read_text()


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) >= 20


if __name__ == "__main__":
    for path in SCENARIOS:
        path.write_text("\n".join(told(path)) + "\n")
        sys.stdout.write(f"{path.name}\n")
