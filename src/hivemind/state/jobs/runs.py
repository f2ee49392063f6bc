"""Runs: how one comes to be, whatever starts it, and what people do to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from hivemind.errors import Conflict, Invalid, NotFound
from hivemind.jobs.expression import render
from hivemind.model.job import Job, JobSpec, Schedule
from hivemind.model.names import derive_id
from hivemind.model.principal import Principal
from hivemind.model.run import Mark, Run, RunState, Start
from hivemind.state.jobs.book import workflow
from hivemind.state.jobs.inputs import bound
from hivemind.state.jobs.keeping import tidy
from hivemind.state.jobs.lanes import key_text
from hivemind.state.jobs.limits import Held
from hivemind.state.jobs.schedules import TICKS, schedules
from hivemind.state.operations import Approve, CancelRun, PauseRun, RetryRun, StartRun
from hivemind.state.state import Outcome, State

_TASKS_LIMIT = 1_000_000
"""Task runs of the whole hive, each of a kilobyte or two in the memory of each node."""
_WAITING_LIMIT = 10_000
"""Runs of one job that have not ended: more are a mistake that would fill the memory."""


# -- coming to be --------------------------------------------------------------------------------------------


def run_id(job: Job, start: Start, key: str) -> str:
    """The same for the same tick, whether its schedule or a backfill starts it; else for the same key."""
    if start.kind in TICKS:
        return derive_id("run", job.id, "tick", start.source, start.time)
    return derive_id("run", job.id, start.kind, start.source, key)


def start_run(
    state: State,
    job: Job,
    start: Start,
    inputs: Mapping[str, Any],
    key: str,
    *,
    sealed: Mapping[str, bytes] | None = None,
    priority: int | None = None,
    parent: str = "",
    depth: int = 0,
    by_hand: bool = False,
) -> Run:
    """The run, which is there already when the same was started before. It begins before the batch is over, unless
    it has to wait. Raises `Invalid` for inputs that its newest definition does not take, `Conflict` for too many."""
    id = run_id(job, start, key)
    if id in state.runs:
        return state.runs[id]
    if job.paused and not by_hand and start.kind != "person":
        raise Conflict(f"job {job.name!r} is paused", hint=f"hivemind job unpause {job.name}")
    if state.work.live_count(job.id) >= _WAITING_LIMIT:
        raise Conflict(
            f"{_WAITING_LIMIT} runs of {job.name} have not ended",
            hint="wait, or cancel some: hivemind job cancel",
        )
    if len(state.task_runs) >= _TASKS_LIMIT:
        raise Conflict(
            f"the hive has {len(state.task_runs):,} tasks, with those of ended runs that are kept",
            hint="cancel runs, or let jobs keep fewer of them: keep: {runs: 10}",
        )
    spec = state.job_spec(job)
    values = bound(spec, inputs, sealed or {})
    run = Run(
        id=id,
        project=job.project,
        job=job.id,
        job_name=job.name,
        number=state.jobs[job.id].runs + 1,
        definition=job.number,
        start=start,
        inputs=values,
        sealed=dict(sealed or {}),
        priority=spec.priority if priority is None else priority,
        parent=parent,
        depth=depth,
        created=state.time,
        marks=(Mark(state.time, RunState.QUEUED, "" if start.kind == "person" else start.told, start.by),),
    )
    run = replace(run, key=_key(spec, run))
    tidy(state, id)
    state.tables.put(state.jobs, job.id, replace(state.jobs[job.id], runs=run.number))
    state.tables.put(state.runs, id, run)
    return run


def skip(state: State, run: Run, why: str) -> None:
    """It will never begin."""
    mark = Mark(state.time, RunState.SKIPPED, why)
    ended = replace(
        run, state=RunState.SKIPPED, reason=why, ended=state.time, marks=(*run.marks, mark)
    )  # fmt: skip
    state.tables.put(state.runs, run.id, ended)


def _key(spec: JobSpec, run: Run) -> str:
    """Of the concurrency of its job's runs; without a key of its own the job's name stands for it."""
    limit = spec.concurrency
    if limit is None:
        return ""
    if not limit.key:
        return run.job_name
    known = {
        "id": run.id,
        "name": run.name,
        "number": run.number,
        "job": run.job_name,
        "project": run.project,
    }
    scope = {"inputs": run.inputs, "event": run.start.event, "run": {**known, "trigger": run.start.kind}}
    return key_text(render(limit.key, scope))


# -- by people -----------------------------------------------------------------------------------------------


def start(state: State, operation: StartRun, who: Principal) -> Outcome:
    job = find_job(state, operation.project, operation.job)
    if operation.priority is not None and not 0 <= operation.priority <= 100:
        raise Invalid(f"{operation.priority} is no priority", hint="give 0 to 100, or low, medium, high")
    begun = start_run(
        state,
        job,
        Start(kind="person", time=state.time, by=who.name),
        operation.inputs,
        f"key/{operation.key}" if operation.key else f"number/{job.runs + 1}",
        sealed=operation.sealed,
        priority=operation.priority,
    )
    return Outcome(id=begun.id)


def cancel(state: State, operation: CancelRun, who: Principal) -> Outcome:
    """One that has ended stays as it is."""
    run = find_run(state, operation.project, operation.run)
    why = operation.reason or f"canceled by {who.name}"
    if operation.paths:
        workflow(state, run.id).cancel_tasks(operation.paths, why, who.name, kill=operation.kill)
    elif not run.state.ended:
        workflow(state, run.id).cancel(why, who.name, kill=operation.kill)
    return Outcome(id=run.id)


def pause(state: State, operation: PauseRun, who: Principal) -> Outcome:
    run = find_run(state, operation.project, operation.run)
    if run.state.ended:
        raise Conflict(
            f"{run.name} has ended: it {_was(run)}", hint=f"start another: hivemind job run {run.job_name}"
        )
    if operation.paused:
        workflow(state, run.id).pause(who.name)
    else:
        workflow(state, run.id).unpause(who.name)
    return Outcome(id=run.id)


def retry(state: State, operation: RetryRun, who: Principal) -> Outcome:
    run = find_run(state, operation.project, operation.run)
    _check_room(state, run)
    workflow(state, run.id).retry(operation.paths, who.name)
    return Outcome(id=run.id)


def _check_room(state: State, run: Run) -> None:
    """It would go on at once, so its job's limit must have room for it."""
    if run.job not in state.jobs:
        raise Conflict(f"the job of {run.name} was removed", hint="put the job again and start a new run")
    if run.state.ended and (holding := in_the_way(state, run)):
        raise Conflict(
            f"{run.name} cannot go on: {holding.why}", hint="wait until that has ended, or cancel it"
        )


def approve(state: State, operation: Approve, who: Principal) -> Outcome:
    run = find_run(state, operation.project, operation.run)
    workflow(state, run.id).approve(operation.path, operation.approved, who.name, operation.comment)
    return Outcome(id=run.id)


# -- who begins ----------------------------------------------------------------------------------------------


def in_the_way(state: State, run: Run) -> Held | None:
    """Other runs that have to end before this one may go on: its job's limit, or the overlap of its schedule."""
    limit = state.definition_of(run).spec.concurrency
    if limit is not None:
        others = state.work.begun_with_key(run.project, run.key)
        if len(others) >= limit.limit:
            why = f"{len(others)} of {limit.limit} runs with key {run.key} go on: {_names(state, others)}"
            return Held(why, (("key", run.project, run.key),), full=True)
    schedule = _schedule(state, run)
    if schedule is not None and schedule.overlap != "allow":
        before = state.work.begun_by(run.job, run.start.source)
        if before:
            why = f"{_names(state, before)} of the same schedule goes on"
            return Held(why, (("source", run.job, run.start.source),))
    return None


def _names(state: State, runs: Iterable[str]) -> str:
    return ", ".join(sorted(state.runs[id].name for id in runs)[:3])


def _schedule(state: State, run: Run) -> Schedule | None:
    """That started it, or that it makes up for."""
    if run.start.kind not in TICKS:
        return None
    found = schedules(state.definition_of(run).spec)
    return next((schedule for name, schedule in found if name == run.start.source), None)


# -- finding -------------------------------------------------------------------------------------------------


def find_job(state: State, project: str, name: str) -> Job:
    found = state.find_job(project, name)
    if found is None:
        raise NotFound(f"there is no job {name!r} in project {project!r}", hint="hivemind job ls shows them")
    return found


def find_run(state: State, project: str, word: str) -> Run:
    """By id, or as `<job>-<number>`: the newest that is called so."""
    found = state.runs.get(word)
    if found is not None and found.project == project:
        return found
    named = [state.runs[id] for id in state.work.runs_named(project, word)]
    if named:
        return max(named, key=lambda run: (run.created, run.id))
    raise NotFound(
        f"there is no run {word!r} in project {project!r}", hint="hivemind job status JOB shows its runs"
    )


def _was(run: Run) -> str:
    return "was canceled" if run.state is RunState.CANCELED else str(run.state)
