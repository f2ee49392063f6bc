"""Attempts of tasks in a box: the agent's rig, with orders that a test writes by hand instead of jobs.

The hive is played: `place` agrees an attempt, a report that it takes removes the allocation, as the real one does.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from agent_rig import NODE, Rig, rig
from hivemind.agent.agent import Agent
from hivemind.agent.tasks.attempt import Attempt
from hivemind.drivers.network.fake import FakeNetwork
from hivemind.drivers.runtimes.contract import Container, LogQuery, RuntimeEvent
from hivemind.drivers.runtimes.fake import FakeMachine, FakeRuntime
from hivemind.jobs.order import Order
from hivemind.model.allocation import Allocation, AllocationState, Desired
from hivemind.model.app import AppSpec
from hivemind.model.job import Definition, JobSpec, Task
from hivemind.model.names import derive_id
from hivemind.model.run import Run, RunState, Start, TaskRun, TaskState, task_key
from hivemind.model.template import Stop
from hivemind.state.operations import AllocationReport, ReportAllocations
from hivemind.state.state import Outcome, State, definition_key

RUN = "run1"


class TaskBox:
    def __init__(self, box: Rig) -> None:
        self.box = box
        self.state = box.hive.state
        self.orders: dict[tuple[str, str], Order] = {}
        self.reports: list[AllocationReport] = []
        """Every report about an attempt that the hive took, in order."""
        box._submit = self._submit  # type: ignore[method-assign]
        self.state.spec_of = self._spec_of  # type: ignore[method-assign]
        self.begin_run()

    # -- the hive --------------------------------------------------------------------------------------------

    def begin_run(self, id: str = RUN) -> None:
        definition = Definition(job="job1", number=1, spec=JobSpec(tasks={"a": Task(run="true")}))
        self._put("definitions", definition_key("job1", 1), definition)
        run = Run(
            id=id, project="default", job="job1", job_name="job", number=1, definition=1,
            start=Start(kind="person"), state=RunState.RUNNING,
        )  # fmt: skip
        self._put("runs", id, run)

    def forget_run(self, id: str = RUN) -> None:
        self.state.tables.remove(self.state.runs, id)
        self._agreed()

    def place(
        self, path: str = "a", script: str = "true", *, run: str = RUN, attempt: int = 1, rank: int = 0,
        image: str = "", timeout: float = 0.0, grace: float = 10.0, **order: Any,
    ) -> str:  # fmt: skip
        """Agrees an attempt of a task that runs `script`; its allocation."""
        id = derive_id("attempt", run, path, attempt, rank)
        template = order.pop("template", {})
        spec = AppSpec(
            image=image, command=("sh", "-c", script), runtime="fake" if image else "process",
            stop=Stop(grace=grace), **template,
        )  # fmt: skip
        self.orders[run, path] = Order(template=spec, timeout=timeout, **order)
        size = self.orders[run, path].size
        members = tuple(derive_id("attempt", run, path, attempt, each) for each in range(size))
        task = TaskRun(run=run, path=path, state=TaskState.RUNNING, attempt=attempt, allocations=members)
        self._put("task_runs", task_key(run, path), task)
        self._put(
            "allocations",
            id,
            Allocation(
                id=id, project="default", run=run, path=path, attempt=attempt, slot=rank, node=NODE,
                state=AllocationState.PLACED, placed=self.box.loop.milliseconds(),
            ),
        )  # fmt: skip
        self._agreed()
        return id

    def stop(self, id: str, *, kill: bool = False, reason: str = "canceled by ann") -> None:
        allocation = self.state.allocations[id]
        told = replace(allocation, desired=Desired.STOP, kill=kill, reason=reason)
        self._put("allocations", id, told)
        self._agreed()

    def lose(self, id: str) -> None:
        """The hive has given it up and forgotten it."""
        self.state.tables.remove(self.state.allocations, id)
        self._agreed()

    def order_of(self, state: State, allocation: Allocation) -> Order:
        return self.orders[allocation.run, allocation.path]

    def _spec_of(self, allocation: Allocation) -> AppSpec:
        return self.orders[allocation.run, allocation.path].template

    async def _submit(self, operation: ReportAllocations) -> Outcome:
        await asyncio.sleep(0)
        for report in operation.reports:
            if report.id in self.state.allocations and report.state.ended:
                self.reports.append(report)
                self.state.tables.remove(self.state.allocations, report.id)
        self._agreed()
        return Outcome()

    def _put(self, table: str, key: str, record: Any) -> None:
        self.state.tables.put(getattr(self.state, table), key, record)

    def _agreed(self) -> None:
        if self.box.agent:
            self.box.agent.agreed()
        self.state.tables.log.clear()

    # -- the node --------------------------------------------------------------------------------------------

    async def start(self, network: FakeNetwork | None = None) -> Agent:
        runtimes = {"fake": _Half(self.box.machine, True), "process": _Half(self.box.machine, False)}
        self.patch()
        return await self.box.start(**runtimes)

    def patch(self) -> None:
        """Every agent made from now on reads the orders of this box."""
        import hivemind.agent.tasks.attempts as attempts

        attempts._order_of = self.order_of  # type: ignore[assignment]

    @property
    def attempts(self) -> dict[str, Attempt]:
        assert self.box.agent
        return dict(self.box.agent.attempts.all)

    def report(self, id: str) -> AllocationReport:
        [found] = [report for report in self.reports if report.id == id]
        return found

    async def reported(self, id: str) -> AllocationReport:
        await self.box.until(lambda: any(report.id == id for report in self.reports))
        return self.report(id)

    async def running(self, id: str) -> None:
        await self.box.until(lambda: f"{id}.0" in self.box.running())

    async def clear(self) -> None:
        """Nothing of any attempt is here any more."""
        await self.box.until(lambda: not self.attempts)

    async def logs(self, id: str, **query: Any) -> list[str]:
        assert self.box.agent
        return [line.text async for line in self.box.agent.logs(id, LogQuery(**query))]

    @property
    def files(self) -> Path:
        return self.box.path / "attempts"

    def place_of(self, id: str) -> Path:
        return self.attempts[id].place

    def left(self) -> list[str]:
        """Files of attempts that are over: not those empty directories that the next ones get."""
        return sorted(
            str(Path(folder, name))
            for folder, inner, names in os.walk(self.files / "live")
            for name in (*inner, *names)
            if not (name.startswith("any-") or (name == "work" and "any-" in folder))
        )


class _Half(FakeRuntime):
    """One of two runtimes of one machine: containers with an image are the one's, all others the other's."""

    def __init__(self, machine: FakeMachine, images: bool) -> None:
        super().__init__(machine)
        self._images = images

    async def list(self) -> list[Container]:
        return [one for one in await super().list() if bool(one.image) is self._images]

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        """One of them tells of all: the agent knows whose they are."""
        if self._images:
            async for event in super().events():
                yield event
        await asyncio.Event().wait()


@asynccontextmanager
async def task_box(path: Path) -> AsyncIterator[TaskBox]:
    import hivemind.agent.tasks.attempts as attempts

    real = attempts._order_of
    try:
        async with rig(path) as box:
            yield TaskBox(box)
    finally:
        attempts._order_of = real
