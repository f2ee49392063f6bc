"""Local health awareness (Lifeguard, section IV-A): who hears little suspects itself first, and waits longer."""

from __future__ import annotations

from hivemind.protocols.machine import Micros


class Awareness:
    """`score`: 0 is well, `worst` is cut off or overloaded."""

    def __init__(self, worst: int) -> None:
        self.score = 0
        self._worst = worst

    def add(self, points: int) -> None:
        self.score = max(0, min(self._worst, self.score + points))

    def relieve(self) -> None:
        """Somebody answered as fast as if all were well, so it is half as bad at most. Lifeguard takes off one point
        only; after a time of trouble in which all slowed down, a crash would then go unnoticed for long."""
        self.score //= 2

    def scaled(self, duration: Micros) -> Micros:
        return duration * (self.score + 1)
