"""The world: one heap of what will happen, one clock that jumps to it, and nothing else that moves.

Two things at the same time happen in the order in which they were planned. Everything random comes from `dice`,
so a seed is a history: the same one gives the same events, on every machine.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from random import Random

from hivemind.protocols.machine import Micros
from hivemind.sim.dice import dice
from hivemind.sim.trace import Trace
from hivemind.sim.violation import Violation

Action = Callable[[], None]


class World:
    def __init__(
        self,
        seed: int,
        *,
        keep: int = 2_000,
        describe: Callable[[bytes], str] = bytes.hex,
        limit: int = 400_000,
    ) -> None:
        """`keep`: how many lines of the trace; `limit`: after how many events a run is taken for one that never
        ends."""
        self.seed, self.now = seed, Micros(0)
        self.trace = Trace(keep, describe)
        self.coverage: Counter[str] = Counter()
        """What happened and how often, as `crash`, `view change with prepared batches`."""
        self.names: dict[str, str] = {}
        """Node -> what the trace calls it."""
        self.events = 0
        self._limit = limit
        self._heap: list[tuple[Micros, int, Action]] = []
        self._ties = 0

    def dice(self, *purpose: object) -> Random:
        return dice(self.seed, *purpose)

    def at(self, time: Micros, action: Action) -> None:
        """Not before now."""
        self._ties += 1
        heapq.heappush(self._heap, (max(time, self.now), self._ties, action))

    def after(self, delay: Micros, action: Action) -> None:
        self.at(self.now + delay, action)

    def cover(self, what: str) -> None:
        self.coverage[what] += 1

    def name(self, node: str) -> str:
        return self.names.get(node, node[:8])

    def note(self, who: str, verb: str, text: str = "", message: bytes = b"") -> None:
        self.trace.note(self.now, who, verb, text, message)

    def run(self, until: Micros, check: Action, enough: Callable[[], bool] | None = None) -> bool:
        """Lets everything up to that time happen, with `check` after each event. Ends early, True, once `enough`
        says so; False: the time is over."""
        while self._heap and self._heap[0][0] <= until:
            self.now, _, action = heapq.heappop(self._heap)
            action()
            self.events += 1
            check()
            if enough is not None and enough():
                return True
            if self.events > self._limit:
                raise Violation("an end", f"more than {self._limit} events: something feeds itself")
        self.now = max(self.now, until)
        return False
