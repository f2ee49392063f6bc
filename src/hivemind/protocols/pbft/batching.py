"""When the primary proposes what it has collected.

A batch costs a voter many times what an operation in it does, so those who ask again and again should be in the same
one. Once a batch is executed, its clients ask again within a moment; how many are to be expected is known, for that
many waited when it was. So the next proposal is made when as many are there, or when no further one has come for a
quarter of the time that a decision takes, and none that comes alone ever waits.
"""

from __future__ import annotations

from hivemind.protocols.machine import Micros
from hivemind.protocols.pbft.pending import Pending
from hivemind.protocols.pbft.settings import Settings

_LULL = 4
"""Part of a decision's time without a further request after which no more are expected."""
_WEIGHT = 4
"""One part in so many of what a decision is known to take is what the newest took."""


class Batching:
    def __init__(self, settings: Settings, pending: Pending) -> None:
        self._settings, self._pending = settings, pending
        self._expected = 1
        """Requests that waited, in the batch or behind it, when the last one was executed."""
        self._executed_at: Micros = 0
        self._took: Micros = 0
        """From a proposal to its execution, lately."""
        self._measured: tuple[int, Micros] | None = None
        """A sequence that was proposed here, and when."""

    def proposed(self, sequence: int, now: Micros) -> None:
        if self._measured is None:
            self._measured = (sequence, now)

    def executed(self, sequence: int, now: Micros) -> None:
        """Requests were, and are still pending."""
        self._expected, self._executed_at = max(len(self._pending), 1), now
        if self._measured is not None and self._measured[0] <= sequence:
            if self._measured[0] == sequence:
                took = now - self._measured[1]
                self._took += (took - self._took) // _WEIGHT if self._took else took
            self._measured = None

    def is_full(self) -> bool:
        return self._pending.fills(self._settings.batch_requests, self._settings.batch_size)

    def due(self, *, in_flight: bool) -> Micros | None:
        """When what is collected is proposed, full or not; None: nothing is. `in_flight`: a proposal is, and what is
        executed lets more requests come."""
        first, settings, pending = self._pending.first_waiting(), self._settings, self._pending
        if first is None:
            return None
        if in_flight:
            return first + max(settings.batch_delay, self._patience())
        if not settings.gather_delay or pending.fills(self._expected, settings.batch_size):
            return first
        lull = max(pending.newest, self._executed_at) + self._took // _LULL
        longest = max(settings.gather_delay, self._took // 2)
        return min(lull, max(first, self._executed_at) + longest)

    def _patience(self) -> Micros:
        """How long more are collected for the batch after the one in flight. Two groups of clients that take turns
        become one when it is executed before."""
        if not self._settings.gather_delay:
            return 0
        return min(2 * self._took, self._settings.request_timeout // 4)
