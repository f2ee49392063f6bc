"""Where attempts of tasks go: the scheduler, asked for one head of the queue after the other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from msgspec.structs import replace

from hivemind.jobs.workflow import next_attempt
from hivemind.model.allocation import Allocation, AllocationState
from hivemind.model.names import derive_id
from hivemind.model.node import Node
from hivemind.model.run import Run, TaskRun, TaskState, task_key
from hivemind.scheduler.contract import Ask, Placement, Use
from hivemind.scheduler.scheduler import Scheduler
from hivemind.state import volume_use
from hivemind.state.jobs.lane import Lane, lane_of
from hivemind.state.jobs.specs import attempt_lane
from hivemind.state.state import State

_SHUNNED = ("lost", "start")
"""Causes after which the next attempt rather goes elsewhere."""


class Placer:
    """Lives for one round of dispatching. What it has placed counts at once for those that follow."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._scheduler: Scheduler | None = None
        self._free = _free_slots(state)
        """Task slots on all nodes; without any the scheduler need not be asked."""

    def find(self, run: Run, task: TaskRun, lane: Lane) -> tuple[Allocation, ...]:
        """Its next attempt, placed: an allocation for each member of the gang. Empty: there is no place."""
        if self._free < lane.nodes:
            return ()
        members = attempts(self._state, run, task, lane)
        found: tuple[Allocation, ...] = ()
        if lane.nodes > 1 or task.promised:
            found = together(self._state, members, task, lane)
            self._scheduler = None
        elif (placed := self._ask(members[0], task, lane)).node:
            found = (_at(self._state, members[0], placed.node),)
        self._free -= len(found)
        return found

    def _ask(self, allocation: Allocation, task: TaskRun, lane: Lane) -> Placement:
        if self._scheduler is None:
            self._scheduler = Scheduler(self._state.nodes, uses(self._state))
        return self._scheduler.place([ask(self._state, allocation, task, lane)])[0]


def _free_slots(state: State) -> int:
    return sum(
        max(state.nodes[node].task_slots - use.tasks, 0)
        for node, use in state.uses().items()
        if state.nodes[node].usable
    )


def attempts(state: State, run: Run, task: TaskRun, lane: Lane) -> list[Allocation]:
    """The allocations of its next attempt, without a place yet."""
    number = next_attempt(task)
    return [
        Allocation(
            id=derive_id("attempt", run.id, task.path, number, rank),
            project=run.project,
            run=run.id,
            path=task.path,
            slot=rank,
            attempt=number,
            created=state.time,
            updated=state.time,
        )
        for rank in range(lane.nodes)
    ]


def together(state: State, members: list[Allocation], task: TaskRun, lane: Lane) -> tuple[Allocation, ...]:
    """All of a gang, each on a node of its own unless they may share, or none. What was promised to it is its own."""
    used = uses(state, but=task_key(task.run, task.path))
    free: dict[str, Node] = {id: state.nodes[id] for id in used}
    scheduler = Scheduler(free, used)
    found = []
    for member in members:
        placed = scheduler.place([ask(state, member, task, lane)])[0]
        if not placed.node:
            return ()
        found.append(_at(state, member, placed.node))
        if not lane.share:
            del free[placed.node]
            scheduler = Scheduler(free, used)
    return tuple(found)


def ask(state: State, allocation: Allocation, task: TaskRun, lane: Lane) -> Ask:
    return Ask(
        id=allocation.id,
        app=allocation.id,
        cpus=lane.cpus,
        memory=lane.memory,
        gpus=lane.gpus,
        constraints=lane.constraints,
        runtime=lane.runtime,
        image=lane.image,
        priority=lane.priority,
        task=True,
        executor=lane.executor,
        volumes=volume_use.ties(state, allocation) if lane.volumes else (),
        avoid=tuple(
            sorted({node for each in task.attempts if each.cause in _SHUNNED for node in each.nodes})
        ),
    )


def uses(state: State, but: str = "") -> dict[str, Use]:
    """What is set aside on every node, promises included, but for those to the task run `but`: while room is made or
    kept for a task nobody else gets any of it."""
    found = state.uses()
    for key, node in _promises(state):
        if key != but:
            found[node] = more(found[node], lane_of(state.task_runs[key].lane))
    return found


def _promises(state: State) -> Iterator[tuple[str, str]]:
    """Task runs, by key, with the nodes that they are promised."""
    for key, going in state.work.going():
        task = state.task_runs.get(key)
        if task is not None and task.state is TaskState.QUEUED:
            yield key, state.allocations[going].node
    for key, nodes in state.work.promised():
        for node in nodes:
            if node in state.nodes:
                yield key, node


def more(use: Use, lane: Lane) -> Use:
    """With another task of that lane."""
    return replace(
        use,
        cpus=round(use.cpus + lane.cpus, 6),
        memory=use.memory + lane.memory,
        gpus=use.gpus + lane.gpus,
        tasks=use.tasks + 1,
    )


def without(state: State, use: Use, gone: Collection[str]) -> Use:
    """Without those attempts, by id."""
    cpus, memory, gpus = use.cpus, use.memory, use.gpus
    for id in gone:
        lane = attempt_lane(state, state.allocations[id])
        cpus, memory, gpus = cpus - lane.cpus, memory - lane.memory, gpus - lane.gpus
    left = {app: count for app, count in use.apps.items() if app not in gone}
    return replace(
        use, cpus=round(cpus, 6), memory=memory, gpus=gpus, tasks=use.tasks - len(gone), apps=left
    )  # fmt: skip


def fits(asked: Ask, node: Node, use: Use) -> bool:
    """Whether it would find a place on a node that was used so."""
    nodes: Mapping[str, Node] = {node.id: node}
    return bool(Scheduler(nodes, {node.id: use}).place([asked])[0].node)


def _at(state: State, allocation: Allocation, node: str) -> Allocation:
    return replace(allocation, node=node, state=AllocationState.PLACED, placed=state.time)
