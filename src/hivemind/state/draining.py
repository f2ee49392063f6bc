"""Nodes that shall be empty: drained, with or without a deadline; and times after which a node is held back, or waited
for, no longer."""

from __future__ import annotations

from msgspec.structs import replace

from hivemind.model.allocation import Allocation, Desired
from hivemind.model.node import Node
from hivemind.state.jobs.book import halt_attempt
from hivemind.state.state import State


def remaining(state: State, node: str) -> list[Allocation]:
    """What is still there, or may be."""
    return [a for a in state.allocations_on(node) if a.live]


def set_timer(state: State, node: Node) -> None:
    """One for all that is to happen to it at some time."""
    times = (node.held_until, node.restarting, node.deadline if node.drained else 0)
    due = [time for time in times if time]
    if due:
        state.deadlines.put(("node", node.id), min(due))
    else:
        state.deadlines.pop(("node", node.id))


def passed(state: State, id: str) -> None:
    """A timer."""
    node = state.nodes.get(id)
    if node is None:
        return
    if node.drained and 0 < node.deadline <= state.time:
        stop_hard(state, node, f"node {node.name} had to be empty by now")
        node = replace(node, deadline=0)
    if 0 < node.restarting <= state.time:
        node = replace(node, restarting=0)
    if 0 < node.held_until <= state.time:
        node = replace(node, held_until=0)
        state.dirty |= {state.allocations[id].app for id in state.pending}
        state.work.tasks.stirred = True
    state.tables.put(state.nodes, id, node)
    set_timer(state, node)


def stop_hard(state: State, node: Node, why: str) -> None:
    """What is still there goes at once, without its grace period."""
    for allocation in remaining(state, node.id):
        if allocation.for_job:
            halt_attempt(state, allocation.id, why, kill=True, halted="lost")
        elif not allocation.kill:
            reason = allocation.reason if allocation.desired is Desired.STOP else why
            stopped = replace(
                allocation, desired=Desired.STOP, kill=True, moving_to="", reason=reason, updated=state.time
            )
            state.tables.put(state.allocations, allocation.id, stopped)
            state.dirty.add(allocation.app)
