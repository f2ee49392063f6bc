"""Whether the loop waits for the disk itself, by how long that took lately."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from hivemind.ledger.journal import Journal
from hivemind.ledger.pace import Pace
from hivemind.ledger.records import Beside, Kept

pytestmark = pytest.mark.anyio


def took(pace: Pace, milliseconds: float, times: int) -> bool:
    for _ in range(times):
        pace.took(milliseconds / 1000)
    return pace.quick


def test_a_disk_is_quick_once_some_writes_were() -> None:
    pace = Pace()
    assert not took(pace, 0.2, 3)
    assert took(pace, 0.2, 10)


def test_one_write_that_takes_long_is_enough_for_a_thread_and_a_dozen_quick_ones_for_none() -> None:
    pace = Pace()
    assert took(pace, 0.2, 30)
    assert took(pace, 10, 1)  # a moment's hiccup
    assert not took(pace, 40, 1)
    assert not took(pace, 0.2, 3)
    assert took(pace, 0.2, 12)


def test_a_disk_that_turns_never_stops_the_loop() -> None:
    pace = Pace()
    assert not took(pace, 12, 100)


async def test_nobody_writes_at_once_while_the_thread_has_the_file(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path, hive="h")
    try:
        assert took(journal._pace, 0.2, 30)
        may = [journal.writes_at_once]
        gate = threading.Event()
        first, second = (journal._loop.create_task(journal.in_thread(gate.wait)) for _ in range(2))
        await journal._loop.run_in_executor(None, lambda: None)
        may.append(journal.writes_at_once)
        first.cancel()  # who waited is gone; the call is not
        second.cancel()
        may.append(journal.writes_at_once)
        gate.set()
        await journal.in_thread(lambda: None)
        may.append(journal.writes_at_once)
        assert may == [True, False, False, True]
        journal.keep(Beside(records=[Kept(b"vote")]))
        assert journal.log.recall() == [b"vote"]
    finally:
        await journal.close()
