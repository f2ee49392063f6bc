"""What a node remembers of its hive."""

from __future__ import annotations

from pathlib import Path

import pytest

from hivemind.daemon.hive.belonging import Belonging, Memory
from hivemind.errors import Corrupt

ONE = Belonging(
    hive="h", name="office", secret=b"s" * 32, address="10.0.0.1:7946", known={"n": (("10.0.0.2", 7946),)}
)


def test_it_is_kept_whole_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "cluster.json"
    memory = Memory(path)
    assert memory.now is None
    memory.keep(ONE)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Memory(path).now == ONE == memory.now
    memory.forget()
    memory.forget()
    assert Memory(path).now is None and list(tmp_path.iterdir()) == []


def test_a_damaged_one_is_not_taken_for_none(tmp_path: Path) -> None:
    path = tmp_path / "cluster.json"
    path.write_text('{"hive": "h"')
    with pytest.raises(Corrupt, match="damaged"):
        Memory(path)
