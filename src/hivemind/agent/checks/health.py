"""Health: what a series of probe results says about a replica. Pure values; times are seconds on any one clock.

A replica is *starting* until its first success, *passing* from then on, and *failing* after `retries` failures
in a row; a success makes it passing again. Until the first success failures do not count during the start
period, and probes come in quick succession, so that a replica is ready soon after it really is; all failures
within one interval count as one, so that the haste does not cost it any of its tries.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from hivemind.model.check import Check

OUTPUT = 4096
"""Characters of the last output that are kept: its end, where the error usually is."""
SHORTEST = 0.1
"""Seconds between two probes at least, whatever the check says."""
SLOW = 0.5
"""An answer that took more than this share of the time it has is called slow."""
EAGER = 0.5
"""Before the first success the next probe comes after this share of the time since the start."""

Outcome = Literal["passed", "slow", "failed", "timeout"]


class Result(msgspec.Struct, frozen=True):
    """What one probe found."""

    ok: bool
    output: str = ""
    timed_out: bool = False
    latency: float = 0.0
    """Seconds until the answer, or until it was given up."""

    def outcome(self, budget: float) -> Outcome:
        """`budget` is how long it might have taken."""
        if not self.ok:
            return "timeout" if self.timed_out else "failed"
        return "slow" if self.latency > budget * SLOW else "passed"


class Health(msgspec.Struct, frozen=True, kw_only=True):
    started: float
    due: float
    """When the next probe shall run."""
    status: Literal["starting", "passing", "failing"] = "starting"
    failures: int = 0
    """In a row, and counted."""
    counted: float | None = None
    """When the last counted failure was."""
    output: str = ""

    @classmethod
    def begin(cls, now: float, offset: float = 0.0) -> Health:
        """A replica that started at `now`. Its first probe runs `offset` seconds later: give each replica another
        offset, and a node full of them does not probe them all at once."""
        return cls(started=now, due=now + offset)

    @property
    def ready(self) -> bool:
        return self.status == "passing"

    def after(self, check: Check, result: Result, now: float) -> Health:
        """The health once a probe ended at `now` with `result`."""
        output = result.output[-OUTPUT:]
        if result.ok:
            due = now + max(check.interval, SHORTEST)
            return Health(started=self.started, due=due, status="passing", output=output)
        counts = self._counts(check, now)
        failures = self.failures + counts
        status = "failing" if failures >= check.retries else self.status
        return Health(
            started=self.started,
            due=now + self._pause(check, now),
            status=status,
            failures=failures,
            counted=now if counts else self.counted,
            output=output,
        )

    def _counts(self, check: Check, now: float) -> bool:
        if self.status != "starting":
            return True
        if now - self.started < check.start_period:
            return False
        # The pause of an interval is measured from end to end of probes, so it is never a hair too short.
        return self.counted is None or now - self.counted >= check.interval

    def _pause(self, check: Check, now: float) -> float:
        if self.status != "starting":
            return max(check.interval, SHORTEST)
        eager = (now - self.started) * EAGER
        if self.counted is not None:
            # Do not step over the moment from which a failure counts again.
            eager = min(eager, max(self.counted + check.interval - now, SHORTEST))
        return max(min(eager, check.interval), SHORTEST)
