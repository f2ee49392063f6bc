"""The reporter: what the hive must know reaches it, once, together, and never out of order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from hivemind.agent.reporter import Reporter
from hivemind.errors import Unavailable
from hivemind.model.allocation import AllocationState
from hivemind.state.operations import AllocationReport, ReportAllocations
from hivemind.state.state import Outcome
from virtual_time import VIRTUAL

pytestmark = pytest.mark.anyio
HEALTHY = AllocationReport(id="a", state=AllocationState.HEALTHY)
FAILING = AllocationReport(id="a", state=AllocationState.PLACED, failing=True, reason="crash")
COMPLETE = AllocationReport(id="a", state=AllocationState.COMPLETE, exit_code=0)
STOPPED = AllocationReport(id="a", state=AllocationState.STOPPED)


@pytest.fixture
def anyio_backend() -> object:
    return VIRTUAL


class Ledger:
    """Takes reports while it is open."""

    def __init__(self) -> None:
        self.taken: list[tuple[AllocationReport, ...]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.refusals = 0

    async def submit(self, operation: ReportAllocations) -> Outcome:
        await asyncio.sleep(0)
        await self.open.wait()
        if self.refusals:
            self.refusals -= 1
            raise Unavailable("the disk is full")
        self.taken.append(operation.reports)
        return Outcome()


@contextlib.asynccontextmanager
async def running(ledger: Ledger) -> AsyncIterator[Reporter]:
    reporter = Reporter("node", ledger.submit)
    task = asyncio.ensure_future(reporter.run())
    try:
        yield reporter
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_reports_that_come_while_one_is_agreed_travel_together() -> None:
    ledger = Ledger()
    async with running(ledger) as reporter:
        ledger.open.clear()
        reporter.report(HEALTHY)
        await asyncio.sleep(1)
        for name in "bcd":
            reporter.report(AllocationReport(id=name, state=AllocationState.HEALTHY))
        ledger.open.set()
        await asyncio.sleep(1)
    assert [[r.id for r in batch] for batch in ledger.taken] == [["a"], ["b", "c", "d"]]


async def test_a_refused_report_is_tried_again_and_none_is_lost() -> None:
    ledger = Ledger()
    ledger.refusals = 3
    async with running(ledger) as reporter:
        reporter.report(FAILING)
        await asyncio.sleep(1.5)
        reporter.report(HEALTHY)
        await asyncio.sleep(10)
    assert ledger.taken == [(HEALTHY,)]


async def test_one_that_comes_while_its_predecessor_is_agreed_is_said_too() -> None:
    ledger = Ledger()
    async with running(ledger) as reporter:
        ledger.open.clear()
        reporter.report(FAILING)
        await asyncio.sleep(1)
        reporter.report(HEALTHY)
        ledger.open.set()
        await asyncio.sleep(1)
    assert ledger.taken == [(FAILING,), (HEALTHY,)]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ((FAILING, HEALTHY), HEALTHY),
        ((HEALTHY, FAILING), HEALTHY),
        ((HEALTHY, STOPPED), STOPPED),
        ((COMPLETE, STOPPED), COMPLETE),
        ((STOPPED, FAILING), STOPPED),
        ((COMPLETE, HEALTHY), COMPLETE),
    ],
)
async def test_what_waits_is_only_replaced_by_what_the_hive_would_take_after_it(
    said: tuple[AllocationReport, ...], told: AllocationReport
) -> None:
    ledger = Ledger()
    async with running(ledger) as reporter:
        for report in said:
            reporter.report(report)
        await asyncio.sleep(1)
    assert ledger.taken == [(told,)]


async def test_thousands_of_reports_are_told_in_bounded_operations() -> None:
    ledger = Ledger()
    async with running(ledger) as reporter:
        for number in range(1200):
            reporter.report(AllocationReport(id=str(number), state=AllocationState.HEALTHY))
        await asyncio.sleep(1)
    assert [len(batch) for batch in ledger.taken] == [500, 500, 200]
