"""Watching one running container instance: is it ready, since when, and has it failed its check."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec

from hivemind.agent.health import Health
from hivemind.agent.probes import Prober
from hivemind.model.check import Check

_SPREAD = 0.2
"""First probes of many replicas that start together are spread over so many seconds."""


class Target(msgspec.Struct, frozen=True):
    """Where and how to probe: see `probes.Prober`."""

    id: str
    ip: str
    ports: dict[str, int]
    declared: tuple[int, ...]
    run: Callable[[tuple[str, ...]], Awaitable[tuple[int, str]]]
    now: Callable[[], float]


class Watch:
    """Without a check a running container is ready."""

    def __init__(
        self, target: Target, check: Check | None, changed: Callable[[], None], *, was_ready: bool = False
    ) -> None:
        """`was_ready`: the daemon was away and it was ready before; that holds until a probe says otherwise."""
        self._target = target
        self._changed = changed
        self._task: asyncio.Task[Any] | None = None
        self.ready = check is None or was_ready
        self.ready_since = target.now()
        self.health: Literal["none", "starting", "passing", "failing"] = "none"
        if check:
            self.health = "passing" if was_ready else "starting"
        self.message = ""
        self.dying = False
        """It was told to stop because of its health."""
        if check:
            prober = Prober(check, target.ip, target.run, target.ports, target.declared)
            self._task = asyncio.get_running_loop().create_task(
                prober.run(self._heard, target.now, _offset(target.id))
            )

    @property
    def failed(self) -> bool:
        return self.health == "failing"

    def close(self) -> None:
        if self._task:
            self._task.cancel()

    def _heard(self, health: Health) -> None:
        if health.ready and not self.ready:
            self.ready_since = self._target.now()
        told = (self.ready, self.health, self.message)
        self.ready, self.health = health.ready, health.status
        self.message = "" if health.ready else health.output
        if told != (self.ready, self.health, self.message):
            self._changed()


def _offset(id: str) -> float:
    """The same for one replica, different between replicas."""
    return hashlib.blake2b(id.encode(), digest_size=1).digest()[0] / 256 * _SPREAD
