"""Runs that were started begin, or wait for other runs to end."""

from __future__ import annotations

from hivemind.jobs.queue import Choice
from hivemind.model.run import Run
from hivemind.state.jobs.book import workflow
from hivemind.state.jobs.limits import Held, paused
from hivemind.state.jobs.runs import in_the_way, skip
from hivemind.state.state import State

_ENOUGH = 20_000
"""Changes of one batch after which further runs begin in the next: everybody waits for a batch to be dealt with."""


def begin_runs(state: State) -> bool:
    """Whether anything was to be done."""
    queue = state.work.runs
    if not queue.stirred:
        return False
    if len(state.changes) >= _ENOUGH:
        state.deadlines.put(("look", ""), state.time + 1)
        return False
    queue.stirred = False
    while (choice := queue.next(lambda project: 0)) is not None:
        _serve(state, choice)
        if len(state.changes) >= _ENOUGH:
            queue.stirred = True
            break
    return True


def _serve(state: State, choice: Choice) -> None:
    run = state.runs[choice.item]
    holding = held(state, run)
    if holding is None:
        workflow(state, run.id).begin()
        assert run.id not in state.work.runs, "what has begun waits no more"
        return
    limit = state.definition_of(run).spec.concurrency
    if holding.full and limit is not None and limit.behavior == "fail":
        skip(state, run, holding.why)
        return
    state.work.runs.park(choice.lane, holding.reasons)
    if holding.full and limit is not None and limit.behavior == "cancel":
        _supersede(state, run, limit.limit)


def held(state: State, run: Run) -> Held | None:
    """Whether a run that was not begun has to wait."""
    return paused(state, run.project, run.key) or in_the_way(state, run)


def _supersede(state: State, run: Run, limit: int) -> None:
    """The oldest that go on, and are not canceled already, give way."""
    others = [state.runs[id] for id in state.work.begun_with_key(run.project, run.key)]
    going_on = sorted(
        (each for each in others if not each.canceling), key=lambda each: (each.started, each.id)
    )
    for each in going_on[: max(len(going_on) - limit + 1, 0)]:
        workflow(state, each.id).cancel(f"{run.name} takes its place")
