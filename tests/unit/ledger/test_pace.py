"""Whether the loop waits for the disk itself, by how long that took lately."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from hivemind.ledger.journal import Journal
from hivemind.ledger.pace import Pace
from hivemind.ledger.records import Beside, Kept

pytestmark = pytest.mark.anyio


def took(pace: Pace, milliseconds: float, times: int) -> int:
    """After so many writes: how many of them the loop waited for."""
    waited = 0
    for _ in range(times):
        if pace.quick:
            waited += 1
            pace.took(milliseconds / 1000)
        else:
            pace.elsewhere()
    return waited


def test_the_loop_waits_for_a_quick_disk() -> None:
    assert took(Pace(), 0.2, 100) == 100


def test_some_writes_that_take_long_do_not_matter() -> None:
    pace = Pace()
    assert all(took(pace, 40, 1) and took(pace, 0.2, 4) == 4 for _ in range(100))


def test_one_that_others_notice_is_enough_for_a_thread_for_a_while() -> None:
    pace = Pace()
    assert took(pace, 300, 1) == 1
    assert took(pace, 0.2, 16) == 0
    assert took(pace, 0.2, 100) == 100


def test_a_disk_that_turns_seldom_stops_the_loop() -> None:
    pace = Pace()
    assert took(pace, 12, 30) <= 12
    assert took(pace, 12, 10_000) <= 16


def test_a_disk_that_is_quick_again_is_noticed() -> None:
    pace = Pace()
    took(pace, 12, 500)
    took(pace, 0.2, 512)
    assert took(pace, 0.2, 1000) == 1000
    took(pace, 300, 1)
    assert took(pace, 0.2, 16) == 0
    assert took(pace, 0.2, 1) == 1


async def test_nobody_writes_at_once_while_the_thread_has_the_file(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path, hive="h")
    try:
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
        journal.write_at_once(lambda: journal.log.keep(Beside(records=[Kept(b"vote")])))
        assert journal.log.recall() == [b"vote"]
    finally:
        await journal.close()
