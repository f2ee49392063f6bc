"""Whether the disk is so quick that the loop may wait for it itself.

A write that takes a thread costs more processor time than the write, and two turns of the scheduler. A disk with a
cache of its own syncs in a tenth of a millisecond: for that the loop waits. One that turns, or is busy, would stop
everything else that the loop does: for that a thread waits. What counts is how long the last writes took.
"""

from __future__ import annotations

_SLOW, _QUICK = 0.005, 0.0025
"""Seconds: at what mean the loop waits no more, and waits again."""
_WEIGHT = 1 / 8
"""Of the newest write in the mean: one that took 40 ms is enough for a thread, and a dozen quick ones for none."""


class Pace:
    """Begins with a thread, until some writes were quick."""

    def __init__(self) -> None:
        self._mean = _SLOW
        self.quick = False

    def took(self, seconds: float) -> None:
        """One write did, by the wall clock, wherever it waited."""
        self._mean += (seconds - self._mean) * _WEIGHT
        if self._mean > _SLOW:
            self.quick = False
        elif self._mean < _QUICK:
            self.quick = True
