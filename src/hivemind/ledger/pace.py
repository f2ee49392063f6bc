"""Whether the disk is so quick that the loop may wait for it itself.

A write that takes a thread costs more processor time than the write, and two turns of the scheduler. A disk with a
cache of its own syncs in a tenth of a millisecond: for that the loop waits. One that turns would stop everything else
that the loop does: for that a thread waits. What counts is how many of the last writes took long, not how long they
took: on a busy machine some do on any disk, and a thread would not end them sooner. Only one that stops the loop for
so long that others notice is enough by itself.

How long a write takes in a thread says little, for that takes turns with the loop. So the loop tries one now and then,
ever more seldom while that takes long.
"""

from __future__ import annotations

_LONG = 0.006
"""Seconds. A disk that turns needs more for most writes."""
_NOTICED = 0.25
"""Seconds."""
_MANY, _FEW = 0.5, 0.25
"""Which share of writes that took long is too much, and which is none to speak of."""
_WEIGHT = 1 / 16
"""Of the newest write in that share."""
_SOONEST, _LATEST = 16, 1024
"""Writes in a thread until the loop tries one."""


class Pace:
    def __init__(self) -> None:
        self._long = 0.0
        self._left = 0
        """Writes until the loop waits for one."""
        self._pause = _SOONEST

    @property
    def quick(self) -> bool:
        """The loop may wait for the next write."""
        return self._left <= 0

    def took(self, seconds: float) -> None:
        """The loop waited so long for a write."""
        self._long += ((seconds > _LONG) - self._long) * _WEIGHT
        if self._long < _FEW:
            self._pause = _SOONEST
        if self._long > _MANY:
            # If the next try is a quick one, it goes on from there; if not, this is left to a thread at once.
            self._long = _MANY
            self._left, self._pause = self._pause, min(2 * self._pause, _LATEST)
        elif seconds > _NOTICED:
            self._left = _SOONEST

    def elsewhere(self) -> None:
        """A thread waited for a write."""
        self._left -= 1
