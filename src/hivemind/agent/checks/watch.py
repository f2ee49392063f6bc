"""Watching one running container instance: is it ready, since when, and must it be restarted.

First what belongs to its start (the post-start hook, then the startup check), then liveness and readiness side
by side for as long as it runs.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Literal

from hivemind.agent.checks.chosen import Checks
from hivemind.agent.checks.health import Health, Result
from hivemind.agent.checks.probes import Prober
from hivemind.agent.checks.target import Target

_SPREAD = 0.2
"""First probes of many replicas that start together are spread over so many seconds."""

Kind = Literal["check", "startup", "liveness", "readiness", "post-start"]
_RESTARTING: tuple[Kind, ...] = ("check", "startup", "liveness")
_GATING: tuple[Kind, ...] = ("check", "readiness")


class Watch:
    """Without a check a running container is ready. `changed` is called when one of the attributes did, `record`
    with what each probe found and how long it might have taken."""

    def __init__(
        self,
        target: Target,
        checks: Checks,
        changed: Callable[[], None],
        record: Callable[[Kind, Result, float], None],
        *,
        was_ready: bool = False,
        settled: bool = False,
    ) -> None:
        """`was_ready`: the daemon was away and it was ready before; that holds until a probe says otherwise.
        `settled`: its start was over before."""
        self._target = target
        self._checks = checks
        self._changed = changed
        self._record = record
        self._task: asyncio.Task[Any] | None = None
        lasting = {"check": checks.both, "liveness": checks.liveness, "readiness": checks.readiness}
        self._probers = {kind: Prober(check, target) for kind, check in lasting.items() if check}
        self._startup = Prober(checks.startup, target) if checks.startup else None
        self._known: dict[str, Health] = {}
        self._broken = ""
        """What the post-start hook failed with."""
        self.settled = settled or was_ready or not (checks.startup or checks.post_start)
        self.ready = self.settled and (was_ready or not any(kind in self._probers for kind in _GATING))
        self.ready_since = target.now()
        self.health: Literal["none", "starting", "passing", "failing"] = "none"
        if self._probers or self._startup:
            self.health = "passing" if was_ready else "starting"
        self.message = ""
        self.failed = False
        """It must be restarted."""
        self.dying = False
        """It was told to stop because of its health."""
        if checks:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def close(self) -> None:
        if self._task:
            self._task.cancel()

    async def _run(self) -> None:
        if not self.settled:
            if not await self._post_start() or not await self._started_up():
                return
            self.settled = True
            self._judge()
        async with asyncio.TaskGroup() as together:
            for kind, prober in self._probers.items():
                together.create_task(self._probe(kind, prober))  # type: ignore[arg-type]

    async def _post_start(self) -> bool:
        hook = self._checks.post_start
        if hook is None:
            return True
        prober = Prober.of_hook(hook, self._target)
        result = await prober.probe()
        self._record("post-start", result, prober.budget)
        if not result.ok:
            self._broken = f"post-start: {result.output}"
            self._judge()
        return result.ok

    async def _started_up(self) -> bool:
        if self._startup is None:
            return True
        async with aclosing(self._startup.results(_offset(self._target.id))) as results:
            async for health, result in results:
                self._record("startup", result, self._startup.budget)
                self._heard("startup", health)
                if health.status != "starting":
                    return health.ready
        return False

    async def _probe(self, kind: Kind, prober: Prober) -> None:
        async with aclosing(prober.results(_offset(self._target.id))) as results:
            async for health, result in results:
                self._record(kind, result, prober.budget)
                self._heard(kind, health)

    def _heard(self, kind: Kind, health: Health) -> None:
        self._known[kind] = health
        self._judge()

    def _judge(self) -> None:
        told = (self.ready, self.health, self.message, self.failed, self.settled)
        known = self._known
        ready = self.settled and all(
            known[kind].ready if kind in known else self.ready for kind in _GATING if kind in self._probers
        )
        if ready and not self.ready:
            self.ready_since = self._target.now()
        self.ready = ready
        self.failed = bool(self._broken) or any(
            known[kind].status == "failing" for kind in _RESTARTING if kind in known
        )
        self.health = self._overall()
        self.message = self._words()
        if told != (self.ready, self.health, self.message, self.failed, self.settled):
            self._changed()

    def _overall(self) -> Literal["none", "starting", "passing", "failing"]:
        if self._broken:
            return "failing"
        if not (self._probers or self._startup):
            return "none"
        states = [health.status for health in self._known.values()]
        if "failing" in states:
            return "failing"
        silent = any(kind not in self._known for kind in self._probers) and self.health != "passing"
        return "starting" if silent or "starting" in states or not self.settled else "passing"

    def _words(self) -> str:
        """What the worst of them said last; nothing while all pass."""
        if self._broken:
            return self._broken
        bad = [(kind, health) for kind, health in self._known.items() if not health.ready]
        bad.sort(key=lambda each: each[1].status != "failing")
        if not bad:
            return ""
        kind, health = bad[0]
        return health.output if kind == "check" else f"{kind}: {health.output}"


def _offset(id: str) -> float:
    """The same for one replica, different between replicas."""
    return hashlib.blake2b(id.encode(), digest_size=1).digest()[0] / 256 * _SPREAD
