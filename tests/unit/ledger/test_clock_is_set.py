"""The wall clock is set while jobs are due: nothing is left out, nothing is done twice, and what was wrong passes."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from hivemind.ledger.timer import Timer
from jobs_hive import JobsHive

MINUTE = 60_000
HOUR = 60 * MINUTE


class Machine:
    """A hive with a job that is due each minute, on a machine whose clock `wall` (ms) can be set."""

    def __init__(self, missed: str) -> None:
        self.hive = JobsHive()
        self.wall = self.hive.time
        self.ticks: list[int] = []
        self._up = 0.0
        self.timer = Timer(
            cast(asyncio.AbstractEventLoop, self), lambda: self.wall, self.hive.state, lambda: None
        )
        schedule = {"cron": "* * * * *", "missed": missed, "overlap": "allow"}
        self.hive.put(on={"schedule": [schedule]}, tasks={"a": {"run": "true"}})

    def time(self) -> float:
        """Of the event loop: how long (s) the machine is up."""
        return self._up

    def live(self, minutes: float) -> None:
        for _ in range(int(minutes * 60)):
            self._up += 1
            self.wall += 1000
            while self.timer.due():
                self._batch()

    def _batch(self) -> None:
        state = self.hive.state
        before = set(state.runs)
        state.apply(state.sequence + 1, self.timer.now(), [])
        self.timer.applied()
        self.ticks += sorted(state.runs[id].start.time // MINUTE for id in set(state.runs) - before)
        self.hive.time = state.time
        self.hive.all_well()


def test_a_clock_that_was_set_back_is_caught_up_with() -> None:
    machine = Machine("all")
    machine.live(10)
    machine.wall -= HOUR
    machine.live(60)
    lag = machine.hive.state.time - machine.wall
    assert abs(lag - HOUR // 2) < 2 * MINUTE
    machine.live(70)
    assert machine.timer.now() == machine.wall
    first, last = machine.ticks[0], machine.ticks[-1]
    assert machine.ticks == list(range(first, last + 1)), "each minute once"
    assert last == machine.wall // MINUTE


@pytest.mark.parametrize(("missed", "made_up"), [("none", 0), ("last", 0), ("all", 59)])
def test_what_a_clock_set_forward_jumps_over_was_missed(missed: str, made_up: int) -> None:
    machine = Machine(missed)
    machine.live(5)
    machine.ticks.clear()
    machine.wall += HOUR
    machine.live(2)
    assert len(machine.ticks) - 2 in (made_up, made_up + 1)
    assert machine.ticks == sorted(set(machine.ticks))
    assert machine.ticks[-1] == machine.wall // MINUTE


def test_forward_by_mistake_and_back_again_repeats_nothing() -> None:
    machine = Machine("none")
    machine.live(5)
    machine.wall += HOUR
    machine.live(5)
    machine.wall -= HOUR
    machine.live(130)
    assert machine.ticks == sorted(set(machine.ticks))
    assert machine.timer.now() == machine.wall and machine.ticks[-1] == machine.wall // MINUTE
