"""A hive in a box with jobs: nodes that end attempts as they are told."""

from __future__ import annotations

from typing import Any

from hive import ADMIN, Hive
from hivemind.jobs.definition import read
from hivemind.model.allocation import Allocation, AllocationState, Desired
from hivemind.model.project import ProjectManifest
from hivemind.model.run import Run, TaskRun, TaskState, task_key
from hivemind.state.operations import (
    AllocationReport,
    CancelRun,
    PutJob,
    PutProject,
    ReportAllocations,
    StartRun,
)
from hivemind.state.state import Outcome, State


class JobsHive(Hive):
    def __init__(self, nodes: int = 1, *, slots: int = 16, **more: Any) -> None:
        super().__init__(0)
        self.allow("default")
        for index in range(nodes):
            self.join(f"node-{index}", task_slots=slots, **more)

    def allow(self, project: str, **more: Any) -> None:
        manifest = ProjectManifest(name=project, permissions=("processes",), **more)
        self.do(PutProject(manifest=manifest))

    def put(
        self, name: str = "job", *, project: str = "default", refused: bool = False, **spec: Any
    ) -> Outcome:
        """`spec` as people write it."""
        manifest = read({"name": name, **spec})
        return self.do(PutJob(project=project, manifest=manifest), refused=refused)

    def start(self, job: str = "job", *, project: str = "default", **more: Any) -> Run:
        outcome = self.do(StartRun(project=project, job=job, **more))
        return self.state.runs[outcome.id]

    def run(self, run: Run | str) -> Run:
        return self.state.runs[run if isinstance(run, str) else run.id]

    def task(self, run: Run | str, path: str) -> TaskRun:
        return self.state.task_runs[task_key(run if isinstance(run, str) else run.id, path)]

    def state_of(self, run: Run | str, path: str) -> TaskState:
        return self.task(run, path).state

    def attempts(self, run: Run | str | None = None) -> list[Allocation]:
        wanted = run.id if isinstance(run, Run) else run
        found = [self.state.allocations[id] for id in self.state.work.attempts()]
        return [a for a in found if wanted in (None, a.run)]

    def attempt(self, run: Run | str, path: str) -> Allocation:
        [found] = [a for a in self.attempts(run) if a.path == path]
        return found

    def end(self, attempt: Allocation, code: int = 0, **said: Any) -> None:
        state = AllocationState.FAILED if code else AllocationState.COMPLETE
        said.setdefault("state", state)
        said.setdefault("cause", "exit")
        self.tell(attempt, exit_code=code, **said)

    def tell(self, attempt: Allocation, **said: Any) -> None:
        report = AllocationReport(id=attempt.id, **said)
        self.do(ReportAllocations(node=attempt.node, reports=(report,)), by=attempt.node)

    def succeed(self, run: Run | str, *paths: str, **said: Any) -> None:
        for path in paths:
            self.end(self.attempt(run, path), **said)

    def stop_done(self) -> int:
        """What shall stop has stopped."""
        stopping = [a for a in self.attempts() if a.desired is Desired.STOP]
        for attempt in stopping:
            self.tell(attempt, state=AllocationState.STOPPED)
        return len(stopping)

    def all_well(self) -> None:
        """All that runs succeeds, until nothing runs any more."""
        for _ in range(10_000):
            running = self.attempts()
            if not running:
                return
            for attempt in running:
                if attempt.id in self.state.allocations:
                    self.end(attempt)
        raise AssertionError("it never comes to rest")

    def all_well_once(self) -> None:
        """All that runs now succeeds."""
        for attempt in self.attempts():
            self.end(attempt)

    def cancel(self, run: Run | str, *paths: str, kill: bool = False) -> None:
        id = run if isinstance(run, str) else run.id
        self.do(CancelRun(project="default", run=id, paths=paths, kill=kill))

    def restart(self) -> None:
        """As if the daemon had been stopped and started."""
        digest = self.state.digest()
        self.state = State.restore(self.state.snapshot())
        assert self.state.digest() == digest

    def until(self, time: int) -> None:
        """Time passes; every timer gets its batch."""
        while (due := self.state.deadline()) is not None and due <= time:
            self.time = max(self.time, due)
            self.state.apply(self.state.sequence + 1, self.time, [])
        self.time = time
        self.state.apply(self.state.sequence + 1, self.time, [])


__all__ = ["ADMIN", "JobsHive"]
