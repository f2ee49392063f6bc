"""When a schedule is due. Signatures first; the rest follows within minutes."""

from __future__ import annotations

from hivemind.model.job import Schedule


def check(schedule: Schedule) -> None:
    """Raises `Invalid` that says what is wrong with it."""
    raise NotImplementedError


def next_time(schedule: Schedule, after_ms: int, salt: str) -> int | None:
    """The moment (ms) of the first start after `after_ms`, jitter included; None: there is none."""
    raise NotImplementedError


def due(schedule: Schedule, seen_ms: int, now_ms: int, salt: str) -> list[int]:
    """The ticks (ms, as scheduled, without jitter), later than the tick `seen_ms`, to be started now."""
    raise NotImplementedError


def between(schedule: Schedule, since_ms: int, until_ms: int) -> list[int]:
    """All ticks in [since, until), at most 10,000: a backfill. Raises `Invalid` for more."""
    raise NotImplementedError
