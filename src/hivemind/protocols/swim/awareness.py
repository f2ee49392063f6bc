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

    def scaled(self, duration: Micros) -> Micros:
        return duration * (self.score + 1)
