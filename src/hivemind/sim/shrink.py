"""Shrinking: which faults and operations of a run that failed does the failure need?

Halves are left out first, then smaller parts, then single ones (delta debugging, Zeller and Hildebrandt, 2002), as
long as the same rule is broken. A plan is named by the numbers of what remains, so a command line can repeat it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from hivemind.sim.run import Outcome
from hivemind.sim.scenario import Settings

Again = Callable[[Settings], Outcome]


def shrunk(failed: Outcome, faults: int, operations: int, again: Again, *, runs: int = 200) -> Outcome:
    """The run with the fewest of the `faults` and `operations` (how many its seed plans) that at most `runs` more
    runs found to break the same rule."""
    search = _Search(failed, again, runs)
    search.minimise("only_faults", _numbers(failed.settings.only_faults, faults))
    search.minimise("only_operations", _numbers(failed.settings.only_operations, operations))
    return search.best


class _Search:
    def __init__(self, failed: Outcome, again: Again, runs: int) -> None:
        self.best, self._again, self._left = failed, again, runs

    def minimise(self, field: str, numbers: Sequence[int]) -> None:
        kept, parts = list(numbers), 1
        while kept and parts <= len(kept) and self._left > 0:
            size = -(-len(kept) // parts)
            for start in range(0, len(kept), size):
                fewer = kept[:start] + kept[start + size :]
                if self._still_fails(field, fewer):
                    kept, parts = fewer, max(parts - 1, 1)
                    break
            else:
                if parts >= len(kept):
                    return
                parts = min(parts * 2, len(kept))

    def _still_fails(self, field: str, numbers: Sequence[int]) -> bool:
        if self._left <= 0:
            return False
        self._left -= 1
        found = self._again(msgspec.structs.replace(self.best.settings, **{field: tuple(numbers)}))
        if found.rule != self.best.rule:
            return False
        self.best = found
        return True


def _numbers(chosen: Sequence[int] | None, count: int) -> Sequence[int]:
    return range(count) if chosen is None else chosen
