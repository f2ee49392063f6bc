"""Why something waits, computed when somebody asks: nothing of it is ever written into those that wait."""

from __future__ import annotations

from typing import NamedTuple

from hivemind.jobs.context import result
from hivemind.jobs.plan import beside
from hivemind.jobs.queue import POINT
from hivemind.model.run import Run, TaskRun, TaskState, task_key
from hivemind.scheduler.scheduler import place
from hivemind.state.jobs import limits, waiting
from hivemind.state.jobs.dispatch import behind
from hivemind.state.jobs.lane import Lane, lane_of
from hivemind.state.jobs.placing import ask, attempts, uses
from hivemind.state.jobs.specs import node_of
from hivemind.state.state import State


class Priority(NamedTuple):
    """Of what a place in the queue is made; all in milliseconds, smaller is sooner."""

    ready: int
    """Since when it waits."""
    points: int
    """What its priority takes off."""
    share: int
    """What its project's share of what runs adds."""
    total: int


def why(state: State, task: TaskRun) -> str:
    """Of a task run that waits; empty when nothing is known to stop it."""
    run = state.runs[task.run]
    if task.state is TaskState.QUEUED:
        return _why_queued(state, run, task)
    if task.state is TaskState.PENDING:
        return task.reason or _why_pending(state, run, task)
    if task.state is TaskState.BLOCKED:
        return task.reason or ("the run is paused" if run.paused else "")
    return task.reason


def why_run(state: State, run: Run) -> str:
    """Of a run that has not begun."""
    if run.paused:
        return "it is paused"
    holding = waiting.held(state, run)
    return holding.why if holding else run.reason


def breakdown(state: State, task: TaskRun) -> Priority:
    """Of a queued task run."""
    lane = lane_of(task.lane)
    share = behind(state, lane.project)
    points = POINT * lane.priority
    return Priority(task.rank + points, points, share, task.rank + share)


def _why_pending(state: State, run: Run, task: TaskRun) -> str:
    awaited = []
    node = node_of(state, run, task.path)
    if node.hook:
        return "its turn is when all else is decided"
    for needed in node.needs:
        other = state.task_runs.get(task_key(run.id, beside(task.path, needed)))
        if other is None or not result(other.state):
            awaited.append(needed.id)
    return f"waits for {', '.join(awaited)}" if awaited else "waits for its group to begin"


def _why_queued(state: State, run: Run, task: TaskRun) -> str:
    lane = lane_of(task.lane)
    key = task_key(run.id, task.path)
    holding = limits.held(state, lane, key)
    before = state.work.tasks.position(key) if key in state.work.tasks else 0
    turn = f"; {before} of the same kind {'is' if before == 1 else 'are'} before it" if before else ""
    if lane.error:
        return lane.error
    if holding:
        what = "waits for a limit: " if holding.full else ""
        return f"{what}{holding.why}{turn}"
    if state.work.preempting(key):
        return f"room is being made for it{turn}"
    if task.promised:
        nodes = ", ".join(state.nodes[node].name for node in task.promised if node in state.nodes)
        return f"{_refusal(state, run, task, lane)}; room is kept for it on {nodes}{turn}"
    return f"{_no_place(state, run, task, lane)}{turn}"


def _no_place(state: State, run: Run, task: TaskRun, lane: Lane) -> str:
    """Found once for all of a lane: thousands of them may be shown."""
    known = state.work.refusals
    if known.get("") != str(state.sequence):
        known.clear()
        known[""] = str(state.sequence)
    if task.lane not in known:
        known[task.lane] = _refusal(state, run, task, lane)
    return known[task.lane]


def _refusal(state: State, run: Run, task: TaskRun, lane: Lane) -> str:
    asks = [ask(state, each, task, lane) for each in attempts(state, run, task, lane)]
    placed = place(asks, state.nodes, uses(state, but=task_key(run.id, task.path)))
    refused = [each.explanation for each in placed if not each.node]
    if refused and all(each.node for each in place(asks, state.nodes, state.uses())):
        return f"what is free is kept for {_names(state)}"
    if refused:
        return refused[0]
    if lane.nodes > 1 and not lane.share and len({each.node for each in placed}) < lane.nodes:
        return f"{lane.nodes} nodes have to be free at the same time"
    return "it is next"


def _names(state: State) -> str:
    """Of those for which room is made or kept, larger or more urgent ones."""
    keys = [key for key, _ in (*state.work.going(), *state.work.promised())]
    return ", ".join(limits.name(state, key) for key in keys[:3])
