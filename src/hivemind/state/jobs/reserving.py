"""Room that is kept for what is too large to find any: smaller tasks that come after it would take for ever whatever
becomes free.

The first in the queue that has waited so long gets promised the nodes on which least is missing. Nothing else that
takes room is placed there before it; it may still begin elsewhere. The promise stands in the record of the task run, so
that whoever was restarted keeps it, too.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from hivemind.jobs.queue import Choice
from hivemind.model.node import Node
from hivemind.model.run import TaskRun
from hivemind.scheduler.contract import Use
from hivemind.state.jobs.lane import Lane, lane_of
from hivemind.state.jobs.placing import ask, attempts, fits, more, uses, without
from hivemind.state.state import State

PATIENCE = 600_000
"""Milliseconds that a task waits before room is kept for it."""
_TIMER = ("room", "")


def keep_room(state: State, waiting: Iterable[Choice]) -> None:
    """`waiting`: the heads of the queue that nothing stops but that there is no place, the first of them first. One at
    a time is promised anything: two could wait for each other."""
    chosen, times = "", []
    for choice in waiting:
        task = state.task_runs[choice.item]
        lane = lane_of(task.lane)
        if not _takes_room(lane) or state.work.preempting(choice.item):
            continue
        if task.ready + PATIENCE > state.time:
            times.append(task.ready + PATIENCE)
        elif nodes := _nodes(state, choice.item, task, lane):
            chosen = choice.item
            _promise(state, chosen, nodes)
            break
    for key, _ in state.work.promised():
        if key != chosen:
            _promise(state, key, ())
    if times:
        state.deadlines.put(_TIMER, min(times))
    else:
        state.deadlines.pop(_TIMER)


def _promise(state: State, key: str, nodes: tuple[str, ...]) -> None:
    task = state.task_runs[key]
    if task.promised != nodes:
        state.tables.put(state.task_runs, key, replace(task, promised=nodes))


def _takes_room(lane: Lane) -> bool:
    """Of tasks that take nothing but a slot each is as large as any other."""
    return bool(lane.cpus or lane.memory or lane.gpus or lane.nodes > 1)


def _nodes(state: State, key: str, task: TaskRun, lane: Lane) -> tuple[str, ...]:
    """For each member of its gang one on which it would fit if no tasks ran there; empty: there are none such."""
    used = uses(state, but=key)
    found: list[str] = []
    for member in attempts(state, state.runs[task.run], task, lane):
        asked = ask(state, member, task, lane)
        missing = {node: _missing(lane, state.nodes[node], use) for node, use in used.items()}
        able = (
            node
            for node in sorted(missing, key=lambda node: (missing[node], node))
            if (lane.share or node not in found)
            and fits(asked, state.nodes[node], _bare(state, node, lane, found.count(node)))
        )
        node = next(able, None)
        if node is None:
            return ()
        used[node] = more(used[node], lane)
        found.append(node)
    return tuple(found)


def _bare(state: State, node: str, lane: Lane, members: int) -> Use:
    """What would be set aside there but for tasks, with so many members of the gang."""
    running = [allocation.id for allocation in state.allocations_on(node) if allocation.for_job]
    use = without(state, state.uses()[node], running)
    for _ in range(members):
        use = more(use, lane)
    return use


def _missing(lane: Lane, node: Node, use: Use) -> float:
    """The largest part of anything it wants that is not free there."""
    wanted = (
        (lane.cpus, node.cpus - use.cpus),
        (lane.memory, node.memory - use.memory),
        (lane.gpus, node.gpus - use.gpus),
        (1, node.task_slots - use.tasks),
    )
    return max(round(max(want - free, 0) / want, 6) for want, free in wanted if want)
