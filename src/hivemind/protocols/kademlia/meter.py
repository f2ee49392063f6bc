"""How much one node may ask of another: an allowance that fills up again with time. Bounded in memory, too."""

from __future__ import annotations

from collections import OrderedDict

from hivemind.protocols.machine import SECOND, Micros


class Meter:
    """`allowance` at once, and as much again each second; for each of at most `known` names, of whom those longest
    silent are forgotten."""

    def __init__(self, allowance: int, known: int = 4_096) -> None:
        self._allowance, self._known = allowance, known
        self._left: OrderedDict[str, tuple[float, Micros]] = OrderedDict()

    def take(self, name: str, now: Micros) -> bool:
        left, since = self._left.pop(name, (float(self._allowance), now))
        left = min(float(self._allowance), left + (now - since) / SECOND * self._allowance)
        self._left[name] = (left - 1 if left >= 1 else left, now)
        if len(self._left) > self._known:
            self._left.popitem(last=False)
        return left >= 1
