"""What nodes report of attempts, and what follows when one has ended.

The record of an attempt goes when its ending is agreed: how it ended stands in its task run. So whatever is reported
of it later, by whatever node, is about nothing that is known, and is passed over.
"""

from __future__ import annotations

from msgspec.structs import replace

from hivemind.jobs.book import Ended
from hivemind.model.allocation import Allocation, AllocationState
from hivemind.model.run import Cause, task_key
from hivemind.state.jobs import circuits
from hivemind.state.jobs.book import halt_attempt, workflow
from hivemind.state.jobs.lane import lane_of
from hivemind.state.operations import AllocationReport
from hivemind.state.state import State

_CAUSES: dict[AllocationState, Cause] = {
    AllocationState.COMPLETE: "exit",
    AllocationState.FAILED: "exit",
    AllocationState.STOPPED: "canceled",
    AllocationState.LOST: "lost",
}


def reported(state: State, old: Allocation, said: AllocationReport) -> None:
    if said.state.ended:
        end(state, old, _how(old, said, state.time), said.unreachable)
        return
    new = replace(
        old,
        state=max(old.state, said.state),
        started=old.started or said.started,
        started_at=old.started_at or said.started_at,
    )
    if new != old:
        state.tables.put(state.allocations, new.id, replace(new, updated=state.time))


def _how(old: Allocation, said: AllocationReport, now: int) -> Ended:
    cause: Cause = said.cause or _CAUSES[said.state]
    reason = said.reason
    if old.halted and said.state is AllocationState.STOPPED:
        cause, reason = old.halted, old.reason
    return Ended(
        cause=cause,
        exit_code=0 if said.state is AllocationState.COMPLETE and said.exit_code is None else said.exit_code,
        reason=reason,
        outputs=said.outputs,
        nodes=(old.node,),
        started=said.started_at or old.started_at,
    )


def end(state: State, old: Allocation, how: Ended, unreachable: tuple[str, ...] = ()) -> None:
    """Nothing of it runs any more."""
    state.tables.remove(state.allocations, old.id)
    task = state.task_runs.get(task_key(old.run, old.path))
    if task is None or old.id not in task.allocations:
        return
    run = state.runs[old.run]
    how = circuits.ended(state, run, task, lane_of(task.lane).circuits, how, unreachable)
    workflow(state, run.id).ended(old.path, old.attempt, old.slot, how)


def leave(state: State, node: str) -> None:
    """A node is drained: what runs there is stopped, and begun anew elsewhere."""
    for allocation in state.allocations_on(node):
        if allocation.for_job:
            name = state.nodes[node].name
            halt_attempt(state, allocation.id, f"node {name} is drained", halted="lost")


def lost(state: State, old: Allocation, why: str) -> None:
    """Its node is gone. What it was to be stopped for is still what its ending counts as."""
    how = Ended(
        cause=old.halted or "lost",
        reason=old.reason if old.halted else why,
        nodes=(old.node,),
        started=old.started_at,
    )
    end(state, old, how)
