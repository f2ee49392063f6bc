"""How long what has ended is kept: runs by number and age, definitions as long as a run began with them.

A run is forgotten at once, its task runs little by little: there may be a hundred thousand.
"""

from __future__ import annotations

from hivemind.model.job import Keep
from hivemind.model.run import Run, task_key
from hivemind.state.state import State, definition_key

_PORTION = 500
"""Task runs that are forgotten in one batch."""
_SOON = 50
"""Milliseconds until a batch is wanted for the next portion."""
_NEVER_BEGUN_KEPT = 20
"""Runs that were skipped say little, and must not push out those that did something."""


def keep(state: State) -> None:
    """Forgets what is kept too long of the jobs in which a run ended or grew too old, and a portion of what is left
    of forgotten runs. Sets the timers for the rest."""
    overdue, state.work.overdue = sorted(state.work.overdue), set()
    for job in overdue:
        _keep_job(state, job)
    _tidy_some(state)


def _keep_job(state: State, job: str) -> None:
    timer = ("keep", job)
    state.deadlines.pop(timer)
    newest = state.work.newest_ended(job)
    if newest is None:
        return
    rule = _rule(state, state.runs[newest])
    age = round(rule.age * 1000)
    first = None
    for begun, most in ((True, rule.runs), (False, _NEVER_BEGUN_KEPT)):
        while ended := state.work.ended_of(job, begun=begun):
            time, _, id = ended[0]
            if len(ended) <= most and time + age > state.time:
                first = time if first is None else min(first, time)
                break
            forget(state, state.runs[id])
    if first is not None:
        state.deadlines.put(timer, first + age)
    state.work.overdue.discard(job)


def _rule(state: State, run: Run) -> Keep:
    """Of the newest definition; of a job that was removed, of the one that the run began with."""
    job = state.jobs.get(run.job)
    return (state.job_spec(job) if job else state.definition_of(run).spec).keep


def forget(state: State, run: Run) -> None:
    state.tables.remove(state.runs, run.id)
    trim(state, run.job, run.definition)


def trim(state: State, job: str, number: int) -> None:
    """That definition goes if it is neither the newest nor any run's."""
    wanted = job in state.jobs and state.jobs[job].number == number
    if not wanted and not state.work.definition_used(job, number):
        key = definition_key(job, number)
        if key in state.definitions:
            state.tables.remove(state.definitions, key)


def tidy(state: State, run: str, portion: int | None = None) -> int:
    """Forgets task runs of that run, which is not there any more; all, or so many. How many there were."""
    paths = sorted(state.work.families.paths(run)) if run in state.work.orphans else []
    for path in paths[:portion]:
        key = task_key(run, path)
        state.tables.remove(state.task_runs, key)
        if key in state.items:
            state.tables.remove(state.items, key)
    return len(paths[:portion])


def _tidy_some(state: State) -> None:
    left = _PORTION
    for run in sorted(state.work.orphans):
        if left:
            left -= tidy(state, run, left)
    if state.work.orphans:
        state.deadlines.put(("tidy", ""), state.time + _SOON)
