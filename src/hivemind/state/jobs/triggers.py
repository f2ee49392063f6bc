"""Which jobs wait for which events: an index over the newest definitions, read only when a job has changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from hivemind.model.job import JobSpec
from hivemind.state.multimap import add, drop

if TYPE_CHECKING:
    from hivemind.model.job import Job
    from hivemind.state.state import State

Kind = Literal["event", "job", "app"]
Occasion = tuple[str, Kind, str]
"""Project, kind, and the type of event, or the name of the job or app that is waited for."""


class Triggers:
    """State tells it of every job that changed; what follows from that is computed when it is asked."""

    def __init__(self) -> None:
        self._changed: set[str] = set()
        self._jobs: dict[Occasion, set[str]] = {}
        self._occasions: dict[str, frozenset[Occasion]] = {}

    def touch(self, job: str) -> None:
        self._changed.add(job)

    def waiting(self, state: State, occasion: Occasion) -> list[Job]:
        """Jobs with a trigger for that, by id; paused ones, too."""
        self._refresh(state)
        return [state.jobs[id] for id in sorted(self._jobs.get(occasion, ()))]

    def _refresh(self, state: State) -> None:
        for id in self._changed:
            job = state.jobs.get(id)
            wanted = frozenset(_occasions(job.project, state.job_spec(job)) if job else ())
            known = self._occasions.pop(id, frozenset())
            for gone in known - wanted:
                drop(self._jobs, gone, id)
            for new in wanted - known:
                add(self._jobs, new, id)
            if wanted:
                self._occasions[id] = wanted
        self._changed.clear()


def _occasions(project: str, spec: JobSpec) -> Iterator[Occasion]:
    for event in spec.triggers.event:
        yield project, "event", event.type
    for job in spec.triggers.job:
        yield project, "job", job.name
    for app in spec.triggers.app:
        yield project, "app", app.name
