"""Schedules start runs: each of their times exactly once, whatever is killed in between.

Which times were decided about stands in `Job.seen`, in the same record that is changed by starting a run; and a run is
named by its time, so that not even another node could start a second one.
"""

from __future__ import annotations

from msgspec.structs import replace

from hivemind.errors import HivemindError, Invalid
from hivemind.jobs import schedule as times
from hivemind.model.job import Job, Schedule
from hivemind.model.principal import Principal
from hivemind.model.run import Start
from hivemind.state.jobs.book import workflow
from hivemind.state.jobs.runs import find_job, run_id, skip, start_run
from hivemind.state.jobs.schedules import TICKS, chosen, paused, salt, schedules
from hivemind.state.operations import Backfill
from hivemind.state.state import Outcome, State

_WAITING_LIMIT = 100
"""Runs of one schedule that wait for each other; the times of a job that is too slow for it must not pile up."""
_BACKFILL_LIMIT = 1000
"""Runs that one backfill starts."""


# -- timers --------------------------------------------------------------------------------------------------


def reschedule(state: State) -> None:
    """Sets the timers of the jobs whose schedules may have changed."""
    changed, state.work.rescheduled = sorted(state.work.rescheduled), set()
    for id in changed:
        for name in state.work.timed.pop(id, ()):
            state.deadlines.pop(("schedule", f"{id}/{name}"))
        job = state.jobs.get(id)
        if job is not None:
            _set_timers(state, job)


def _set_timers(state: State, job: Job) -> None:
    names = []
    for name, schedule in schedules(state.job_spec(job)):
        if paused(job, name, schedule):
            continue
        when = _next(schedule, job.seen.get(name, state.time), state.time, salt(job, name))
        if when is not None:
            state.deadlines.put(("schedule", f"{job.id}/{name}"), when)
            names.append(name)
    if names:
        state.work.timed[job.id] = tuple(names)


def _next(schedule: Schedule, seen: int, now: int, salt: str) -> int | None:
    """The time of the next batch that it wants: at once, where more is to be made up for than starts in one."""
    first = times.next_time(schedule, seen, salt)
    if first is None or first > now:
        return first
    return now if times.due(schedule, seen, now, salt) else times.next_time(schedule, now, salt)


def fire(state: State, key: str) -> None:
    """The time of a schedule, `<job>/<name>`, has come."""
    id, _, name = key.partition("/")
    job = state.jobs.get(id)
    if job is None:
        return
    state.work.rescheduled.add(id)
    schedule = dict(schedules(state.job_spec(job))).get(name)
    if schedule is None or paused(job, name, schedule):
        return
    ticks = times.due(schedule, job.seen.get(name, state.time), state.time, salt(job, name))
    if ticks:
        state.tables.put(state.jobs, id, replace(job, seen={**job.seen, name: ticks[-1]}))
    for tick in ticks:
        _start(state, state.jobs[id], name, schedule, tick)


def _start(state: State, job: Job, name: str, schedule: Schedule, tick: int) -> None:
    begun = Start(kind="schedule", source=name, time=tick)
    known = run_id(job, begun, "") in state.runs
    if known:
        return
    others = _others(state, job, name) if schedule.overlap != "allow" else []
    try:
        run = start_run(state, job, begun, schedule.inputs, "")
    except HivemindError:
        # Its inputs were checked when the job was put. What is left is that there are far too many runs already.
        return
    if schedule.overlap == "forbid" and others:
        skip(state, run, f"{state.runs[others[0]].name} goes on, and overlap is forbid")
    elif schedule.overlap == "queue" and len(others) >= _WAITING_LIMIT:
        skip(state, run, f"{len(others)} runs of this schedule wait already")
    elif schedule.overlap == "replace":
        for id in others:
            if not state.runs[id].state.ended:
                workflow(state, id).cancel(f"replaced by {run.name}")


def _others(state: State, job: Job, name: str) -> list[str]:
    """Runs of this schedule that have not ended, oldest first."""
    live = (state.runs[id] for id in state.work.live_runs(job.id))
    mine = [run for run in live if run.start.kind in TICKS and run.start.source == name]
    return [run.id for run in sorted(mine, key=lambda run: run.number)]


# -- backfill ------------------------------------------------------------------------------------------------


def backfill(state: State, operation: Backfill, who: Principal) -> Outcome:
    """`Outcome.id`: ids of the runs that were started, separated by commas."""
    job = find_job(state, operation.project, operation.job)
    name, schedule = chosen(state, job, operation.schedule)
    if operation.until <= operation.since:
        raise Invalid("the backfill ends before it begins", hint="give --since a time before --until")
    ticks = times.between(schedule, operation.since, operation.until)
    missing = [
        t for t in ticks if run_id(job, Start(kind="backfill", source=name, time=t), "") not in state.runs
    ]
    if len(missing) > _BACKFILL_LIMIT:
        raise Invalid(
            f"that would be {len(missing)} runs; at most {_BACKFILL_LIMIT} are started at a time",
            hint="do it in shorter periods",
        )
    if operation.newest_first:
        missing.reverse()
    started = []
    for tick in missing:
        start = Start(kind="backfill", source=name, time=tick, by=who.name)
        run = start_run(state, job, start, schedule.inputs, "", by_hand=True)
        started.append(run.id)
    return Outcome(id=",".join(started))
