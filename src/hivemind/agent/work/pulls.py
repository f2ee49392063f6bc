"""Pulls: one for all who want the same image at the same time. It goes on while anybody waits for it."""

from __future__ import annotations

import asyncio

from hivemind.drivers.runtimes.contract import PullPolicy, Runtime
from hivemind.model.image import Image


class _Pull:
    def __init__(self, task: asyncio.Task[Image]) -> None:
        self.task = task
        self.waiting = 0


class Pulls:
    def __init__(self) -> None:
        self._running: dict[tuple[str, str, PullPolicy], _Pull] = {}

    def __len__(self) -> int:
        return len(self._running)

    async def image(self, runtime: Runtime, reference: str, policy: PullPolicy = "missing") -> Image:
        """Raises what the pull raised. Whoever is cancelled leaves the others waiting; the last one ends it."""
        key = (runtime.name, reference, policy)
        pull = self._running.get(key)
        if pull is None:
            started = asyncio.get_running_loop().create_task(runtime.pull(reference, policy=policy))
            pull = self._running[key] = _Pull(started)
        pull.waiting += 1
        try:
            return await asyncio.shield(pull.task)
        finally:
            pull.waiting -= 1
            if not pull.waiting and self._running.get(key) is pull:
                del self._running[key]
                pull.task.cancel()
