"""The schedules of a job, as runs and timers call them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hivemind.errors import Conflict, Invalid, NotFound
from hivemind.model.job import Job, JobSpec, Schedule

if TYPE_CHECKING:
    from hivemind.state.state import State

TICKS = ("schedule", "backfill")
"""Kinds of starts that are about a time of a schedule."""


def schedules(spec: JobSpec) -> Iterator[tuple[str, Schedule]]:
    """Each by its name, or its number."""
    for number, schedule in enumerate(spec.triggers.schedule):
        yield schedule.name or str(number), schedule


def salt(job: Job, name: str) -> str:
    """What jitter follows from, beside the time."""
    return f"{job.id}/{name}"


def paused(job: Job, name: str, schedule: Schedule) -> bool:
    return job.paused or schedule.paused or name in job.paused_schedules


def chosen(state: State, job: Job, wanted: str) -> tuple[str, Schedule]:
    """The one that is called so; without a name the only one. Raises `Conflict`, `Invalid`, `NotFound`."""
    known = dict(schedules(state.job_spec(job)))
    if not known:
        raise Conflict(f"job {job.name!r} has no schedule", hint="on: schedule: gives it one")
    if not wanted and len(known) > 1:
        raise Invalid(f"job {job.name!r} has {len(known)} schedules", hint=f"name one of {', '.join(known)}")
    name = wanted or next(iter(known))
    if name not in known:
        raise NotFound(
            f"job {job.name!r} has no schedule {name!r}", hint=f"its schedules: {', '.join(known)}"
        )
    return name, known[name]
