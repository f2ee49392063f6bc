"""Ways for datagrams to nodes behind translated addresses: made as soon as such a node is found, and made again before
what translates has forgotten them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from hivemind.errors import Unavailable
from hivemind.transport.contract import Address

_logger = logging.getLogger(__name__)
_EVERY = 20.0
"""Seconds; translators forget after thirty."""
_SOON = 1.0
"""After a failure; doubles with each further one."""
_PATIENCE = 6.0
_MOST = 64
_AT_ONCE = 8
Reach = Callable[[str, Sequence[Address], float], Awaitable[Address]]


class Openings:
    """`reach` makes a way to a node, with the help of third ones. `open` are those that work."""

    def __init__(self, reach: Reach) -> None:
        self.open: dict[str, Address] = {}
        self._reach = reach
        self._wanted: dict[str, tuple[Address, ...]] = {}
        self._bell = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def want(self, node: str, through: tuple[Address, ...]) -> None:
        """None: it can be reached without."""
        if not through:
            self._wanted.pop(node, None)
            self.open.pop(node, None)
        elif self._wanted.get(node) != through and (node in self._wanted or len(self._wanted) < _MOST):
            self._wanted[node] = through
            self._bell.set()
            if self._task is None:
                self._task = asyncio.get_running_loop().create_task(self._keep())

    def close(self) -> None:
        if self._task:
            self._task.cancel()
            self._task = None

    async def _keep(self) -> None:
        turns = asyncio.Semaphore(_AT_ONCE)

        async def make(node: str, through: tuple[Address, ...]) -> None:
            async with turns:
                await self._make(node, through)

        pause = _SOON
        while True:
            self._bell.clear()
            await asyncio.gather(*(make(node, through) for node, through in tuple(self._wanted.items())))
            pause = _EVERY if self.open.keys() == self._wanted.keys() else min(pause * 2, _EVERY)
            try:
                async with asyncio.timeout(pause):
                    await self._bell.wait()
                pause = _SOON
            except TimeoutError:
                pass

    async def _make(self, node: str, through: tuple[Address, ...]) -> None:
        try:
            self.open[node] = await self._reach(node, through, _PATIENCE)
        except Unavailable as error:
            if self.open.pop(node, None):
                _logger.info("the way for datagrams to node %s is closed: %s", node[:8], error.message)
