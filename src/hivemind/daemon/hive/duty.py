"""What a node sees to as long as it is in a hive, whenever something has changed."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod

log = logging.getLogger(__name__)


class Duty(ABC):
    """`start`, then `look` after each change, then `stop`."""

    def __init__(self) -> None:
        self._bell = asyncio.Event()
        """Set: there is something to look at."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._go_on())

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def look(self) -> None:
        """Something changed: in membership, or in what was agreed about nodes."""
        self._bell.set()

    async def _go_on(self) -> None:
        try:
            await self._see_to_it()
        except Exception:
            log.exception("this node does not see to its %s any more", type(self).__name__.lower())

    @abstractmethod
    async def _see_to_it(self) -> None:
        """Until it is canceled, or there is nothing to see to any more."""
