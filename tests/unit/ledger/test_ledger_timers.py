"""Ticks: empty batches that let state's timers fire, made when they are due and never in a busy loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from hivemind.ledger import replay
from hivemind.ledger.contract import Batch
from hivemind.state.state import Outcome, Signed, State
from ledger_hive import HIVE, open_ledger, put
from ledger_hive import Clock as StandingClock

pytestmark = pytest.mark.anyio


class Alarm(State):
    """Wants a batch at `at`, and `every` ms from then on; `stuck` never moves on."""

    at: int | None = None
    stuck = False

    def apply(self, sequence: int, time: int, operations: Sequence[Signed]) -> list[Outcome]:
        outcomes = super().apply(sequence, time, operations)
        if self.at is not None and time >= self.at and not self.stuck:
            self.at = None
        return outcomes

    def deadline(self) -> int | None:
        return self.at


@pytest.fixture(autouse=True)
def alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "State", Alarm)


class RunningClock:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def __call__(self) -> int:
        return 1_000_000 + int(self._loop.time() * 1000)


async def _batches(ledger: object, count: int) -> list[Batch]:
    """The next `count` batches."""
    heard: asyncio.Queue[Batch] = asyncio.Queue()
    undo = ledger.subscribe(heard.put_nowait)  # type: ignore[attr-defined]
    try:
        return [await asyncio.wait_for(heard.get(), 10) for _ in range(count)]
    finally:
        undo()


async def test_a_deadline_makes_an_empty_batch_when_it_passes(tmp_path: Path) -> None:
    clock = RunningClock()
    ledger = await open_ledger(tmp_path, clock)
    assert isinstance(ledger.state, Alarm)
    ledger.state.at = clock() + 30
    wanted = ledger.state.at
    ledger.engine._timer.arm()
    (tick,) = await _batches(ledger, 1)
    assert tick.envelopes == ()
    assert tick.time >= wanted
    await ledger.close()


async def test_a_deadline_known_at_start_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Alarm, "at", 5)
    ledger = await open_ledger(tmp_path, RunningClock())
    (tick,) = await _batches(ledger, 1)
    assert tick.sequence == 1
    await ledger.close()


async def test_a_deadline_that_stays_in_the_past_is_no_busy_loop(tmp_path: Path) -> None:
    ledger = await open_ledger(tmp_path, RunningClock())
    assert isinstance(ledger.state, Alarm)
    ledger.state.stuck, ledger.state.at = True, 5
    ledger.engine._timer.arm()
    pauses = []
    for _ in range(4):
        await _batches(ledger, 1)
        pauses.append(ledger.engine._timer._pause)
    assert pauses == [0.01, 0.02, 0.04, 0.08]
    await put_refused(ledger)
    await ledger.close()


async def put_refused(ledger: object) -> None:
    """Operations are still served between the ticks (this hive has no founder, so it is a refusal)."""
    with pytest.raises(Exception, match="not known"):
        await put(ledger, "x")  # type: ignore[arg-type]


async def test_a_clock_set_back_does_not_stall_timers(tmp_path: Path) -> None:
    clock = StandingClock(1_000_000)
    ledger = await open_ledger(tmp_path, clock)
    assert isinstance(ledger.state, Alarm)
    await put_refused(ledger)
    clock.now = 5
    ledger.state.at = 1_000_020
    ledger.engine._timer.arm()
    (tick,) = await _batches(ledger, 1)
    assert tick.time >= 1_000_020
    await ledger.close()


async def test_no_deadline_no_batches(tmp_path: Path) -> None:
    ledger = await open_ledger(tmp_path, RunningClock())
    ledger.engine._timer.arm()
    assert ledger.engine._timer._handle is None
    assert ledger.state.hive == HIVE
    await ledger.close()
    assert ledger.state.sequence == 0
