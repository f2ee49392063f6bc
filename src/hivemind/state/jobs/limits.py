"""What stops the head of a lane, other than that there is no place: limits, pauses, circuits.

All of it is derived from what runs now. Nothing is counted up and down, so nothing can be counted wrong.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from hivemind.jobs.queue import Reason
from hivemind.model.allocation import Desired
from hivemind.model.run import run_and_path
from hivemind.state.jobs import circuits
from hivemind.state.jobs.lane import Lane
from hivemind.state.state import State

_NAMED = 3
"""So many of those that hold a limit are named."""


class Held(NamedTuple):
    """Why it may not start, and what it has to be woken by."""

    why: str
    reasons: tuple[Reason, ...]
    full: bool = False
    """It is the limit of its concurrency."""


def held(state: State, lane: Lane, key: str) -> Held | None:
    """Whether the task run of that key, whose turn it is, has to wait. None: it may start where there is a place."""
    return (
        paused(state, lane.project, lane.key)
        or _broken(state, lane, key)
        or _crowded(state, lane)
        or _hurried(state, lane)
        or _full(state, lane)
    )


def paused(state: State, project: str, key: str) -> Held | None:
    """Whether all of the project is, or the queue of that concurrency key."""
    for each in ("", key) if key else ("",):
        found = state.queues.get(f"{project}/{each}")
        if found:
            what = f"queue {each}" if each else f"project {project}"
            by = f" by {found.by}" if found.by else ""
            return Held(f"{what} is paused{by}", (("queue", project, each),))
    return None


def _broken(state: State, lane: Lane, key: str) -> Held | None:
    if not lane.circuits:
        return None
    closed = circuits.closed_to(state, lane.project, lane.circuits, key)
    if not closed:
        return None
    return Held(next(iter(closed.values())), tuple(("circuit", lane.project, name) for name in closed))


def _crowded(state: State, lane: Lane) -> Held | None:
    project = state.projects.get(lane.project)
    most = project.max_tasks if project else 0
    running = state.work.running_of(lane.project)
    if not most or running < most:
        return None
    return Held(f"{running} of {most} tasks of project {lane.project} run", (("project", lane.project),))


def _hurried(state: State, lane: Lane) -> Held | None:
    if not lane.rate:
        return None
    starts = state.work.starts(lane.project, lane.rate)
    recent = len(starts) - bisect_right(starts, state.time - lane.per, key=lambda start: start[0])
    if recent < lane.starts:
        return None
    why = f"{recent} of {lane.starts} starts in {lane.per / 1000:g} s with the rate key {lane.rate}"
    return Held(why, (("rate", lane.project, lane.rate),))


def _full(state: State, lane: Lane) -> Held | None:
    if not lane.key:
        return None
    running = state.work.running_with_key(lane.project, lane.key)
    if len(running) < lane.limit:
        return None
    names = [name(state, key) for key in sorted(running)[:_NAMED]]
    more = ", …" if len(running) > _NAMED else ""
    why = f"{len(running)} of {lane.limit} with key {lane.key} run: {', '.join(names)}{more}"
    return Held(why, (("key", lane.project, lane.key),), full=True)


def name(state: State, key: str) -> str:
    run, path = run_and_path(key)
    return f"{state.runs[run].name}.{path}"


def oldest_to_cancel(state: State, lane: Lane) -> list[str]:
    """Keys of the task runs that are one too many when another with that key comes: the oldest, those left out of
    account that are being stopped already."""
    going_on = [
        key
        for key in state.work.running_with_key(lane.project, lane.key)
        if any(_wanted(state, id) for id in state.task_runs[key].allocations)
    ]
    surplus = len(going_on) - lane.limit + 1
    going_on.sort(key=lambda key: (state.task_runs[key].started, key))
    return going_on[: max(surplus, 0)]


def _wanted(state: State, id: str) -> bool:
    allocation = state.allocations.get(id)
    return allocation is not None and allocation.desired is Desired.RUN
