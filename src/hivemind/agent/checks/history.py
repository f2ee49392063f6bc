"""What the checks of one container found: the last results, in memory; the latest of each kind for the store."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from hivemind.model.allocation import CheckResult

KEPT = 30
"""Results of one container; a check every few seconds makes that a few minutes."""


class History:
    def __init__(self) -> None:
        self._results: deque[CheckResult] = deque(maxlen=KEPT)
        self._latest: dict[str, CheckResult] = {}

    def add(self, result: CheckResult) -> None:
        self._results.append(result)
        self._latest[result.check] = result

    def __iter__(self) -> Iterator[CheckResult]:
        """Oldest first."""
        return iter(self._results)

    @property
    def latest(self) -> tuple[CheckResult, ...]:
        return tuple(self._latest.values())
