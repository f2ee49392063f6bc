"""When to start a container again after it ended. Pure.

The first restart is immediate; each further one waits twice as long, up to a minute. A container that ran for
half a minute is taken for well, and the count begins anew.
"""

from __future__ import annotations

import msgspec

FIRST = 0.5
"""Seconds before the second restart in a row."""
LONGEST = 60.0
WELL_AFTER = 30.0


class Backoff(msgspec.Struct, frozen=True):
    """How often in a row it ended too soon."""

    failures: int = 0

    def after_run(self, seconds: float) -> Backoff:
        return Backoff(1) if seconds >= WELL_AFTER else Backoff(self.failures + 1)

    @property
    def delay(self) -> float:
        """Seconds to wait before the next start."""
        if self.failures <= 1:
            return 0.0
        return float(min(LONGEST, FIRST * 2 ** min(self.failures - 2, 20)))
