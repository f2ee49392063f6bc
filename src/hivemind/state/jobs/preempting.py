"""Room for what is more urgent: running tasks that allow it give their places to tasks of higher priority.

What is stopped spends nothing of its retries but a loss, and is queued again behind the one that it gave way to. Two
tasks cannot drive each other out: only the lower priority gives way, only to one that is before it in the queue, and
only as long as it has losses left.
"""

from __future__ import annotations

from hivemind.jobs.queue import Choice
from hivemind.model.allocation import Allocation, Desired
from hivemind.model.run import TaskRun
from hivemind.scheduler.contract import Ask
from hivemind.state.jobs.book import halt_attempt
from hivemind.state.jobs.lane import Lane, lane_of
from hivemind.state.jobs.placing import ask, attempts, fits, uses, without
from hivemind.state.jobs.specs import attempt_lane, node_of
from hivemind.state.state import State


def preempt(state: State, choice: Choice) -> None:
    """Stops the fewest, lowest and youngest that have to go so that this one has a place, if that is possible. Gangs
    wait until there is room by itself."""
    lane = lane_of(str(choice.lane))
    if not state.work.preemptible() or lane.error or lane.nodes > 1 or state.work.preempting(choice.item):
        return
    task = state.task_runs[choice.item]
    run = state.runs[task.run]
    asked = ask(state, attempts(state, run, task, lane)[0], task, lane)
    best: list[Allocation] | None = None
    weight: tuple[object, ...] = ()
    for node, candidates in sorted(_candidates(state, lane, choice.rank).items()):
        victims = _fewest(state, choice.item, asked, node, candidates)
        if victims:
            cost = (len(victims), max(attempt_lane(state, each).priority for each in victims), node)
            if best is None or cost < weight:
                best, weight = victims, cost
    for victim in best or ():
        why = f"preempted by {run.name} {task.path}"
        halt_attempt(state, victim.id, why, halted="preempted", room_for=choice.item)


def _candidates(state: State, lane: Lane, rank: int) -> dict[str, list[Allocation]]:
    """By node: who might give way to that lane, lowest priority first, among equals the youngest first."""
    found: dict[str, list[Allocation]] = {}
    for key in state.work.preemptible():
        task = state.task_runs[key]
        if len(task.allocations) != 1 or not _gives_way(state, task, lane, rank):
            continue
        allocation = state.allocations.get(task.allocations[0])
        if allocation is not None and allocation.live and allocation.desired is Desired.RUN:
            found.setdefault(allocation.node, []).append(allocation)
    for allocations in found.values():
        allocations.sort(key=lambda each: (attempt_lane(state, each).priority, -each.placed, each.id))
    return found


def _gives_way(state: State, task: TaskRun, lane: Lane, rank: int) -> bool:
    lower = lane_of(task.lane).priority < lane.priority and task.rank > rank
    return lower and task.losses < node_of(state, state.runs[task.run], task.path).task.retry.losses


def _fewest(
    state: State, asker: str, asked: Ask, node: str, candidates: list[Allocation]
) -> list[Allocation]:
    """Without whom it fits there; empty: not even without all of them."""
    use = uses(state, but=asker)[node]
    taken: list[Allocation] = []
    for candidate in candidates:
        taken.append(candidate)
        if fits(asked, state.nodes[node], without(state, use, [each.id for each in taken])):
            break
    else:
        return []
    for each in list(taken[:-1]):
        fewer = [other for other in taken if other is not each]
        if fits(asked, state.nodes[node], without(state, use, [each.id for each in fewer])):
            taken = fewer
    return taken
