"""The schedules of a job, as runs and timers call them."""

from __future__ import annotations

from collections.abc import Iterator

from hivemind.model.job import JobSpec, Schedule

TICKS = ("schedule", "backfill")
"""Kinds of starts that are about a time of a schedule."""


def schedules(spec: JobSpec) -> Iterator[tuple[str, Schedule]]:
    """Each by its name, or its number."""
    for number, schedule in enumerate(spec.triggers.schedule):
        yield schedule.name or str(number), schedule
