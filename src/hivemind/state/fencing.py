"""When the slot of a replica that was lost is filled again, if never two of it may run at a time.

A node that is cut off cannot be told to stop anything. So it does by itself, for apps with `on_partition: stop`: it
stops their replicas once it has heard nothing of enough voters for `CONTACT`. The hive counts on that, and gives the
slot to another node only when the old one must be done: after `CONTACT`, what its containers may take to stop, and
`MARGIN` for whatever is slower than it should be. That rests on the daemon of the other node being at work.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hivemind.model.allocation import Allocation, AllocationState
from hivemind.state.state import State

CONTACT: Final = 15_000
"""Milliseconds that a node may hear nothing of enough voters. More than the longest silence that is in order."""
MARGIN: Final = 5_000


def held(state: State, pending: Iterable[Allocation]) -> dict[str, str]:
    """Those that have to wait, and for what."""
    found = {}
    for allocation in pending:
        before = _still_running(state, allocation)
        if before is not None:
            state.deadlines.put(("fence", allocation.id), _until(state, before))
            node = state.nodes.get(before.node)
            found[allocation.id] = (
                f"waits until its replica on {node.name if node else 'a node that is gone'}"
                + (" has stopped there, where nobody can be asked")
            )
    return found


def passed(state: State, key: str) -> None:
    """A timer: it need not wait any longer."""
    if allocation := state.allocations.get(key):
        state.dirty.add(allocation.app)


def recall(state: State) -> None:
    """After a restore: sets the timers."""
    held(state, [state.allocations[id] for id in sorted(state.pending)])


def _still_running(state: State, allocation: Allocation) -> Allocation | None:
    """The latest of its slot's that may still run on a lost node."""
    if allocation.for_job or state.spec_of(allocation).on_partition != "stop":
        return None
    others = state.allocations_in(allocation.app, allocation.slot)
    lost = [a for a in others if a.state is AllocationState.LOST and _until(state, a) > state.time]
    return max(lost, key=lambda a: _until(state, a), default=None)


def _until(state: State, lost: Allocation) -> int:
    spec = state.spec_of(lost)
    graces = sum(template.stop.grace for template in (spec, *spec.sidecars))
    return lost.updated + CONTACT + round(graces * 1000) + MARGIN
