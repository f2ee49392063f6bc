"""Jobs, runs and task runs as people name them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hivemind.errors import Invalid, NotFound
from hivemind.model.job import Definition, Job
from hivemind.model.run import Run, TaskRun, task_key
from hivemind.state.state import State

_PREFIX = 4
"""An id may be shortened to so many letters, if they fit one thing only."""


def find_run(state: State, project: str, word: str) -> Run:
    """`nightly-7`, an id or its beginning, or `nightly`: its newest run. Raises `NotFound`, `Invalid`."""
    found = state.runs.get(word)
    if found is not None and found.project == project:
        return found
    if named := state.work.runs_named(project, word):
        return max((state.runs[id] for id in named), key=lambda run: run.created)
    if job := state.find_job(project, word):
        newest = state.work.newest_run(job.id)
        if newest is None:
            raise NotFound(f"the job {word} has not run yet", hint=f"start it: hivemind job run {word}")
        return state.runs[newest]
    return _begun(state, project, word)


def _begun(state: State, project: str, word: str) -> Run:
    begun = [run for run in state.runs.values() if run.project == project and run.id.startswith(word)]
    if len(word) < _PREFIX or not begun:
        raise NotFound(
            f"there is no run {word[:200]!r} in project {project!r}",
            hint="hivemind get runs shows them; a run is named like nightly-7",
        )
    if len(begun) > 1:
        raise Invalid(f"{word!r} fits {len(begun)} runs", hint="write more of the id")
    return begun[0]


def runs_of(state: State, job: str) -> list[Run]:
    """Those still kept, oldest first."""
    return [state.runs[id] for id in state.work.runs_of(job)]


def definitions_of(state: State, job: Job) -> list[Definition]:
    """Those still kept, oldest first."""
    return [state.definition(job.id, n) for n in state.work.definition_numbers(job.id)]


def tasks_of(state: State, run: Run) -> Iterable[TaskRun]:
    """All task runs of a run, in no order."""
    for path in list(state.work.families.paths(run.id)):
        yield state.task_runs[task_key(run.id, path)]


def find_task(state: State, run: Run, path: str) -> TaskRun:
    """Raises `NotFound` with the nearest path."""
    found = state.task_runs.get(task_key(run.id, path))
    if found is not None:
        return found
    import difflib

    paths = sorted(state.work.families.paths(run.id))
    close = difflib.get_close_matches(path, paths, n=1) or difflib.get_close_matches(
        path, [p.rpartition(".")[2] for p in paths], n=1
    )
    full = next((p for p in paths if close and (p == close[0] or p.endswith(f".{close[0]}"))), "")
    hint = f"did you mean {full}?" if full else f"hivemind job status {run.name} shows its tasks"
    raise NotFound(f"{run.name} has no task {path[:200]!r}", hint=hint)


def shown_inputs(run: Run) -> dict[str, Any]:
    """Secret ones as `***`."""
    return {**run.inputs, **dict.fromkeys(run.sealed, "***")}
