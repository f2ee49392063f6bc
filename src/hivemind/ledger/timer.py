"""The ledger's sense of time: what `now` a batch gets, and when state's next timer wants an empty one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from hivemind.state.state import State

_logger = logging.getLogger(__name__)
_LONGEST = 3600.0
"""Seconds. The wall clock may be set while we sleep, so we look again at least this often."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 1.0
"""Seconds between ticks that do not move state's deadline into the future."""
_CATCHING_UP = 2
"""Seconds that a second of the hive takes while the wall clock lags behind it."""
_WORTH_TELLING = 60_000
"""Milliseconds that the wall clock may lag without a word."""


class Timer:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], int],
        state: State,
        wake: Callable[[], None],
    ) -> None:
        self._loop, self._clock, self._state, self._wake = loop, clock, state, wake
        self._since = loop.time()
        self._handle: asyncio.TimerHandle | None = None
        self._not_before = 0.0
        self._pause = 0.0
        self._told = False

    def now(self) -> int:
        """Milliseconds since 1970; never before the last batch. While the wall clock lags behind the last
        batch (it was set back) time goes on from there at half its pace: timers do not stall, and the wall clock
        catches up, so that what is due at noon is not early for ever."""
        clock, last = self._clock(), self._state.time
        if clock >= last:
            self._told = False
            return clock
        if last - clock > _WORTH_TELLING and not self._told:
            self._told = True
            _logger.warning(
                "the wall clock was set back: it lags %d s behind what was agreed. Until it has caught up, the hive's"
                " time goes at half its pace", (last - clock) // 1000,
            )  # fmt: skip
        return last + int((self._loop.time() - self._since) * 1000 / _CATCHING_UP)

    def due(self) -> bool:
        deadline = self._state.deadline()
        return deadline is not None and deadline <= self.now() and self._loop.time() >= self._not_before

    def arm(self) -> None:
        """Wakes the ledger when the deadline passes."""
        self.cancel()
        deadline = self._state.deadline()
        if deadline is None:
            return
        wait = max((deadline - self.now()) / 1000, self._not_before - self._loop.time(), 0.0)
        self._handle = self._loop.call_later(min(wait, _LONGEST), self._wake)

    def cancel(self) -> None:
        if self._handle:
            self._handle.cancel()
            self._handle = None

    def applied(self) -> None:
        """A batch was applied. One that leaves the deadline in the past is followed by a growing pause, so
        that a timer which cannot be satisfied never becomes a busy loop."""
        self._since = self._loop.time()
        deadline = self._state.deadline()
        if deadline is None or deadline > self._state.time:
            self._pause = self._not_before = 0.0
            return
        self._pause = min(self._pause * 2 or _FIRST_PAUSE, _LONGEST_PAUSE)
        self._not_before = self._since + self._pause
        _logger.debug("state's deadline %d stays in the past; next tick in %.2f s", deadline, self._pause)

    def postpone(self) -> None:
        """The batch could not be written: no tick for a while."""
        self._not_before = self._loop.time() + _LONGEST_PAUSE
