"""What tests of jobs do to a node in memory."""

from __future__ import annotations

from typing import Any

from hivemind.jobs.definition import read
from hivemind.model.allocation import AllocationState
from hivemind.model.job import JobManifest
from hivemind.model.project import ProjectManifest
from hivemind.model.run import Cause, TaskRun
from hivemind.state.operations import AllocationReport, PutProject, ReportAllocations
from tests.unit.api.backend import ADMIN, NODE, MemoryBackend


def job(name: str, **written: Any) -> JobManifest:
    """As people write it, without a file."""
    return read({"name": name, **written})


def allow(backend: MemoryBackend) -> None:
    """Plain commands in the default project."""
    manifest = ProjectManifest(name="default", permissions=("processes",))
    backend.apply(PutProject(manifest=manifest), ADMIN)


def task(backend: MemoryBackend, run: str, path: str) -> TaskRun:
    """Raises `KeyError`."""
    ids = {found.name: found.id for found in backend.state.runs.values()}
    return backend.state.task_runs[f"{ids[run]}/{path}"]


def end(
    backend: MemoryBackend,
    run: str,
    path: str,
    *,
    exit_code: int = 0,
    cause: Cause = "exit",
    outputs: dict[str, Any] | None = None,
) -> None:
    """The running attempt of that task has ended on its node."""
    reports = tuple(
        AllocationReport(
            id=id,
            state=AllocationState.FAILED if exit_code or cause != "exit" else AllocationState.COMPLETE,
            exit_code=exit_code,
            cause=cause,
            outputs=outputs or {},
            started_at=backend.state.time,
            ended_at=backend.state.time + 5,
        )
        for id in task(backend, run, path).allocations
    )
    backend.apply(ReportAllocations(node=NODE.public, reports=reports), NODE)
