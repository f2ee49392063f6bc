"""What an operation would make the hive do: computed by the code that will do it.

The operation is applied to a copy of the state, and then the nodes' reports are played as if all went well,
until nothing changes any more.
"""

from __future__ import annotations

import msgspec

from hivemind.model.allocation import Allocation, AllocationState, Desired
from hivemind.model.run import Run
from hivemind.state.operations import AllocationReport, Operation, ReportAllocations
from hivemind.state.state import Signed, State
from hivemind.state.tables import Change

_ROUNDS = 20_000


class Foreseen(msgspec.Struct, frozen=True, kw_only=True):
    action: str
    """`create`, `change`, `delete`, `start`, `stop`, `wait`."""
    object: str
    node: str = ""
    """Name of the node."""
    detail: str = ""


def forecast(state: State, operation: Operation, signer: str) -> list[Foreseen]:
    """Raises what the operation would be refused with."""
    copy = state.fork()
    time = copy.time
    [outcome] = copy.apply(copy.sequence + 1, time, [Signed(signer, "forecast", operation)])
    outcome.raise_for_error()
    steps = _read(copy)
    moved = set(copy.allocations)
    for _ in range(_ROUNDS):
        reports = _all_goes_well(copy, moved)
        if not reports:
            break
        time += 1
        signed = [Signed(report.node, f"forecast/{time}", report) for report in reports]
        copy.apply(copy.sequence + 1, time, signed)
        steps += _read(copy)
        moved = {change.key for change in copy.changes if change.table == "allocations"}
    return steps


def _all_goes_well(state: State, moved: set[str]) -> list[ReportAllocations]:
    """What nodes report next of the allocations that moved last: all others are where they shall be."""
    reports: dict[str, list[AllocationReport]] = {}
    for id in sorted(moved):
        allocation = state.allocations.get(id)
        if allocation is None or not allocation.live or not allocation.node or allocation.for_job:
            continue  # how a task ends, and what follows from that, nobody can foresee
        if allocation.desired is Desired.STOP:
            reached = AllocationState.STOPPED
        elif allocation.state is AllocationState.PLACED:
            reached = AllocationState.HEALTHY
        else:
            continue
        reports.setdefault(allocation.node, []).append(AllocationReport(id=allocation.id, state=reached))
    return [ReportAllocations(node=node, reports=tuple(said)) for node, said in sorted(reports.items())]


def _read(state: State) -> list[Foreseen]:
    steps = []
    for change in state.changes:
        if change.table == "apps":
            steps += _app(change)
        elif change.table == "bundles":
            steps += _bundle(change)
        elif change.table == "allocations" and change.new is not None:
            steps += _allocation(state, change.old, change.new)
        elif change.table in ("jobs", "routines"):
            steps += _defined(change)
        elif change.table == "runs":
            steps += _run(change.old, change.new)
        elif change.table in ("volumes", "snapshots"):
            steps += _storage(change)
    return steps


def _app(change: Change) -> list[Foreseen]:
    old, new = change.old, change.new
    if new is None or (old and new.deleted):
        return [Foreseen(action="delete", object=f"app {old.name}")] if new and not old.deleted else []
    if old is None:
        return [
            Foreseen(
                action="create",
                object=f"app {new.name}",
                detail=f"{new.replicas} replica{'s' if new.replicas != 1 else ''}",
            )
        ]
    if old.revision != new.revision:
        waits = "; it waits, because the app is paused" if new.paused else ""
        return [
            Foreseen(action="change", object=f"app {new.name}", detail=f"to revision {new.revision}{waits}")
        ]
    if old.replicas != new.replicas:
        return [
            Foreseen(
                action="change", object=f"app {new.name}", detail=f"{old.replicas} to {new.replicas} replicas"
            )
        ]
    return []


def _bundle(change: Change) -> list[Foreseen]:
    """A config or secret."""
    old, new = change.old, change.new
    if new is None:
        return [Foreseen(action="delete", object=f"{old.kind} {old.name}")]
    if old is None:
        return [Foreseen(action="create", object=f"{new.kind} {new.name}")]
    return [Foreseen(action="change", object=f"{new.kind} {new.name}")] if new.number != old.number else []


def _defined(change: Change) -> list[Foreseen]:
    """A job or a routine of the library."""
    old, new = change.old, change.new
    object = f"{change.table.removesuffix('s')} {(new or old).name}"
    if old is None or new is None:
        return [Foreseen(action="create" if new else "delete", object=object)]
    what = "definition" if change.table == "jobs" else "version"
    if old.number != new.number:
        return [Foreseen(action="change", object=object, detail=f"to {what} {new.number}")]
    if change.table == "jobs" and (old.paused, old.paused_schedules) != (new.paused, new.paused_schedules):
        return [Foreseen(action="change", object=object, detail="paused or resumed")]
    return [Foreseen(action="change", object=object, detail="labels")] if old.labels != new.labels else []


def _run(old: Run | None, new: Run | None) -> list[Foreseen]:
    if new is None or (old and old.state is new.state and old.canceling == new.canceling):
        return []
    if old is None or (old.state.ended and not new.state.ended):
        return [Foreseen(action="start", object=f"run {new.name}")]
    if new.canceling and not old.canceling:
        return [Foreseen(action="stop", object=f"run {new.name}", detail=new.canceling)]
    return []


def _storage(change: Change) -> list[Foreseen]:
    old, new = change.old, change.new
    object = f"{change.table.removesuffix('s')} {(new or old).name}"
    if old is None or new is None:
        return [Foreseen(action="create" if new else "delete", object=object)]
    if change.table == "volumes" and (old.size, old.content, old.backup) != (
        new.size,
        new.content,
        new.backup,
    ):
        detail = "other content" if new.content != old.content else "size or backups"
        return [Foreseen(action="change", object=object, detail=detail)]
    return []


def _allocation(state: State, old: Allocation | None, new: Allocation) -> list[Foreseen]:
    name, node = _name(state, new), state.nodes[new.node].name if new.node else ""
    if new.desired is Desired.STOP and (old is None or old.desired is Desired.RUN):
        return [Foreseen(action="stop", object=name, node=node, detail=new.reason)]
    if new.state is AllocationState.PLACED and (old is None or old.state is AllocationState.PENDING):
        detail = f"attempt {new.attempt}" if new.for_job else f"revision {new.revision}"
        return [Foreseen(action="start", object=name, node=node, detail=detail)]
    if new.state is AllocationState.PENDING and new.reason and (old is None or old.reason != new.reason):
        return [Foreseen(action="wait", object=name, detail=new.reason)]
    return []


def _name(state: State, allocation: Allocation) -> str:
    if not allocation.for_job:
        return f"{allocation.app_name}.{allocation.slot}"
    run = state.runs.get(allocation.run)
    return f"{run.name if run else allocation.run}/{allocation.path}"
