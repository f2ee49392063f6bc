"""The target of probes: one running container, and how to reach it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

Exec = Callable[[tuple[str, ...]], Awaitable[tuple[int, str]]]
"""Runs a command inside the container: its exit code and what it wrote. Cancelling it ends the command."""


class Target(msgspec.Struct, frozen=True):
    id: str
    ip: str
    run: Exec
    now: Callable[[], float]
    """Seconds on a clock that only goes forward."""
    explain: Callable[[], Awaitable[str]]
    """What the processes inside do just now, for a probe that nothing answered; empty: nothing is known."""
    ports: dict[str, int] = {}
    """Where a container port answers at `ip`, where that is elsewhere (`{"80/tcp": 31080}`)."""
    declared: tuple[int, ...] = ()
    """The app's TCP ports: a probe without a port uses the first."""
