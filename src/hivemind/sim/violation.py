"""What a run fails with."""

from __future__ import annotations


class Violation(AssertionError):
    """`rule`: the invariant that does not hold, as `agreement`; `story`: what shows it."""

    def __init__(self, rule: str, story: str) -> None:
        super().__init__(f"{rule}: {story}")
        self.rule, self.story = rule, story


def demand(holds: bool, rule: str, story: str) -> None:
    """Raises `Violation` unless it holds."""
    if not holds:
        raise Violation(rule, story)
