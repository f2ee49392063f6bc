"""Tells the hive the facts about this node's allocations that must change a decision.

Reports that come while one is being agreed travel together in the next operation, so a hundred replicas that
get healthy at once cost a few operations, not a hundred. Nothing is kept over a restart: workers derive their
reports from what is there and say them again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from hivemind.errors import HivemindError
from hivemind.state.operations import AllocationReport, ReportAllocations
from hivemind.state.state import Outcome

_RETRY = 1.0
"""Seconds before a refused report is tried again."""
_AT_ONCE = 500

log = logging.getLogger(__name__)


class Reporter:
    def __init__(self, node: str, submit: Callable[[ReportAllocations], Awaitable[Outcome]]) -> None:
        self._node = node
        self._submit = submit
        self._waiting: dict[str, AllocationReport] = {}
        self._wake = asyncio.Event()

    def report(self, report: AllocationReport) -> None:
        """Replaces one that was not agreed yet, if the hive would take it after that: an allocation that was healthy
        was, and one that ended has ended."""
        older = self._waiting.get(report.id)
        if older is None or (not older.state.ended and report.state >= older.state):
            self._waiting[report.id] = report
            self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                batch = dict(list(self._waiting.items())[:_AT_ONCE])
                try:
                    await self._submit(ReportAllocations(node=self._node, reports=tuple(batch.values())))
                except Exception as error:
                    defect = None if isinstance(error, HivemindError) else error
                    log.warning("the hive did not take a report: %s", error, exc_info=defect)
                    await asyncio.sleep(_RETRY)
                    continue
                for id, said in batch.items():
                    if self._waiting.get(id) is said:
                        del self._waiting[id]
