"""Gives places to what is queued, in its order, until nobody else can have one."""

from __future__ import annotations

from functools import partial

from hivemind.jobs.queue import Choice, handicap
from hivemind.model.allocation import Allocation
from hivemind.model.queue import RecentStart
from hivemind.model.run import Run, TaskRun, run_and_path, task_key
from hivemind.state import volumes
from hivemind.state.jobs import circuits
from hivemind.state.jobs.book import workflow
from hivemind.state.jobs.lane import Lane, lane_of
from hivemind.state.jobs.limits import held, oldest_to_cancel
from hivemind.state.jobs.placing import Placer
from hivemind.state.jobs.preempting import preempt
from hivemind.state.jobs.reserving import keep_room
from hivemind.state.state import State


def dispatch(state: State) -> bool:
    """Whether anything was to be done. Then there may be more: what fails or is canceled lets others begin."""
    queue = state.work.tasks
    if not queue.stirred:
        return False
    queue.stirred = False
    placer = Placer(state)
    while (choice := _next(state)) is not None:
        _serve(state, placer, choice)
    waiting = list(queue.without_place())
    for choice in waiting:
        preempt(state, choice)
    keep_room(state, waiting)
    return True


def _next(state: State) -> Choice | None:
    """Whoever may begin; after them those that found no place, and that something else stops by now."""
    found = state.work.tasks.next(partial(behind, state))
    return found or next(
        (
            head
            for head in state.work.tasks.without_place()
            if held(state, lane_of(str(head.lane)), head.item) is not None
        ),
        None,
    )


def behind(state: State, project: str) -> int:
    """How far (ms) a project is put back by its share of what runs now."""
    weight = state.projects[project].weight if project in state.projects else 1
    return handicap(state.work.running_of(project), state.work.running(), weight)


def _serve(state: State, placer: Placer, choice: Choice) -> None:
    """The head of a lane begins, or fails, or the lane is parked, or its whole group is set aside."""
    lane = lane_of(str(choice.lane))
    task = state.task_runs[choice.item]
    run = state.runs[task.run]
    if lane.error:
        workflow(state, run.id).fail(task.path, lane.error)
        return
    holding = held(state, lane, choice.item)
    if holding is None:
        members = placer.find(run, task, lane)
        if members:
            _begin(state, run, task, lane, members)
        else:
            state.work.tasks.set_aside(choice.group)
    elif holding.full and lane.behavior == "fail":
        workflow(state, run.id).fail(task.path, holding.why)
    else:
        state.work.tasks.park(choice.lane, holding.reasons)
        if holding.full and lane.behavior == "cancel":
            _supersede(state, lane, f"{run.name} {task.path} takes its place")


def _begin(state: State, run: Run, task: TaskRun, lane: Lane, members: tuple[Allocation, ...]) -> None:
    for allocation in members:
        state.tables.put(state.allocations, allocation.id, allocation)
        if lane.volumes:
            volumes.bind(state, allocation)
    ids = [allocation.id for allocation in members]
    nodes = [allocation.node for allocation in members]
    key = task_key(run.id, task.path)
    if not workflow(state, run.id).placed(task.path, ids, nodes):
        raise AssertionError(f"{key} stood in the queue and is not queued")
    if lane.circuits:
        begun = state.task_runs[key]
        state.tables.put(state.task_runs, key, circuits.started(state, run, begun, lane.circuits))
    if lane.rate:
        _note_start(state, lane, key)


def _note_start(state: State, lane: Lane, key: str) -> None:
    start = RecentStart(project=lane.project, key=lane.rate, time=state.time, until=state.time + lane.per)
    attempt = state.task_runs[key].attempt
    name = f"{lane.project}/{lane.rate}/{state.time:015d}/{key}/{attempt}"
    state.tables.put(state.starts, name, start)


def _supersede(state: State, lane: Lane, why: str) -> None:
    for key in oldest_to_cancel(state, lane):
        run, path = run_and_path(key)
        workflow(state, run).cancel_tasks((path,), why)
