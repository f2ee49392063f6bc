"""What is paused: jobs with all that starts them, single schedules, queues."""

from __future__ import annotations

from msgspec.structs import replace

from hivemind.errors import NotFound
from hivemind.model.job import Job
from hivemind.model.principal import Principal
from hivemind.model.queue import PausedQueue
from hivemind.state.jobs.definitions import save
from hivemind.state.jobs.runs import find_job
from hivemind.state.jobs.schedules import schedules
from hivemind.state.operations import PauseJob, PauseQueue
from hivemind.state.projects import known
from hivemind.state.state import Outcome, State


def pause_job(state: State, operation: PauseJob, who: Principal) -> Outcome:
    """The times of a schedule that pass while it is paused are not made up for."""
    old = find_job(state, operation.project, operation.name)
    names = [name for name, _ in schedules(state.job_spec(old))]
    for name in operation.schedules:
        if name not in names:
            known_ones = ", ".join(names) or "none"
            raise NotFound(f"job {old.name!r} has no schedule {name!r}", hint=f"its schedules: {known_ones}")
    if operation.schedules:
        before = set(old.paused_schedules)
        chosen = set(operation.schedules)
        after = before | chosen if operation.paused else before - chosen
        new = replace(old, paused_schedules=tuple(sorted(after)))
        resumed = before - after
    else:
        new = replace(old, paused=operation.paused)
        resumed = set(names) if old.paused and not operation.paused else set()
    return save(state, old, replace(new, seen=_from_now_on(state, new, resumed)))


def _from_now_on(state: State, job: Job, resumed: set[str]) -> dict[str, int]:
    return {**job.seen, **dict.fromkeys(sorted(resumed), state.time)}


def pause_queue(state: State, operation: PauseQueue, who: Principal) -> Outcome:
    key = f"{known(state, operation.project)}/{operation.key}"
    if not operation.paused:
        if key in state.queues:
            state.tables.remove(state.queues, key)
    elif key not in state.queues:
        queue = PausedQueue(project=operation.project, key=operation.key, by=who.name, since=state.time)
        state.tables.put(state.queues, key, queue)
    return Outcome(id=key)
