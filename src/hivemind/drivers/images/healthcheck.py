"""docker's HEALTHCHECK, as it stands in an image's configuration."""

from __future__ import annotations

import msgspec

from hivemind.model.check import Check, CommandProbe

_SHELL = ("/bin/sh", "-c")
_INTERVAL, _TIMEOUT, _RETRIES = 30.0, 30.0, 3
"""docker's own where the image gives none."""
_LONGEST = 24 * 3600.0
"""Seconds, for an image that says nonsense."""


class HealthConfig(msgspec.Struct, frozen=True, rename="pascal"):
    """Durations in nanoseconds; 0 is docker's default."""

    test: list[str] | None = None
    interval: int | None = None
    timeout: int | None = None
    start_period: int | None = None
    retries: int | None = None


def check_of(given: HealthConfig | None, shell: list[str] | None) -> Check | None:
    """None where there is none, or where it was turned off (`NONE`)."""
    kind, *words = (given.test if given else None) or [""]
    if given is None or not words or kind not in ("CMD", "CMD-SHELL"):
        return None
    command = tuple(words) if kind == "CMD" else (*(shell or _SHELL), words[0])
    return Check(
        probe=CommandProbe(command=command),
        interval=_seconds(given.interval) or _INTERVAL,
        timeout=_seconds(given.timeout) or _TIMEOUT,
        retries=given.retries if given.retries and 0 < given.retries <= 1000 else _RETRIES,
        start_period=_seconds(given.start_period),
    )


def _seconds(nanoseconds: int | None) -> float:
    return min(max(0.0, (nanoseconds or 0) / 1e9), _LONGEST)
