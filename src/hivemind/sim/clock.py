"""Clocks that are wrong: each runs a little too fast or too slow, and its wall time is somebody's guess."""

from __future__ import annotations

from hivemind.protocols.machine import Micros

EPOCH = 1_800_000_000_000
"""Milliseconds since 1970 at which every world begins."""
_PPM = 1_000_000


class Clock:
    def __init__(self, *, drift: int = 0, offset: int = 0) -> None:
        """`drift`: how many parts in a million it is too fast; `offset`: by how many milliseconds its wall time is
        ahead of the true one."""
        self._drift, self.offset = drift, offset
        self._zero = Micros(0)

    def restart(self, now: Micros) -> None:
        """The clock that only goes forward starts anew with each process."""
        self._zero = now

    def monotonic(self, now: Micros) -> Micros:
        passed = now - self._zero
        return passed + passed * self._drift // _PPM

    def world_time(self, reading: Micros) -> Micros:
        """The earliest time at which it shows at least that."""
        guess = self._zero + reading * _PPM // (_PPM + self._drift)
        while self.monotonic(guess) < reading:
            guess += 1
        return guess

    def wall(self, reading: Micros) -> int:
        """Milliseconds since 1970 when it shows that."""
        true = self._zero + reading
        return EPOCH + true // 1_000 + self.offset
