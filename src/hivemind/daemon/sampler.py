"""The node's sample of itself, for people and dashboards: the one thing here that goes by the clock."""

from __future__ import annotations

import asyncio
import time

import hivemind
from hivemind.daemon import capacity
from hivemind.daemon.backend import NodeBackend
from hivemind.model.base import encode
from hivemind.model.node import NodeStatus

_EVERY = 30.0
"""Seconds."""


class Sampler:
    def __init__(self, backend: NodeBackend, data_dir: str) -> None:
        self._backend = backend
        self._data_dir = data_dir
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._backend.store.put(f"node/{self._backend.node}", encode(self._sample()))
        self._timer = asyncio.get_running_loop().call_later(_EVERY, self.start)

    def stop(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _sample(self) -> NodeStatus:
        info = self._backend.info()
        return NodeStatus(
            memory_used=capacity.memory_used(),
            load=round(capacity.load(), 2),
            disk_free=capacity.disk_free(self._data_dir),
            version=hivemind.__version__,
            started=info.started,
            observed=time.time_ns() // 1_000_000,
            runtime=info.runtime,
            network=info.network,
            problems=info.problems,
        )
