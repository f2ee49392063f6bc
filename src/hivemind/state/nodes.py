"""What operations do to nodes, and what nodes report of their allocations."""

from __future__ import annotations

from msgspec.structs import replace

from hivemind.errors import Conflict, Forbidden, NotFound
from hivemind.model.allocation import AllocationState
from hivemind.model.node import Node
from hivemind.model.principal import Principal
from hivemind.state.jobs import ending, notices
from hivemind.state.operations import AllocationReport, DrainNode, RegisterNode, ReportAllocations, UpdateNode
from hivemind.state.projects import check_version
from hivemind.state.state import Outcome, State


def register(state: State, operation: RegisterNode, who: Principal) -> Outcome:
    """Capacities are the node's word; labels and schedulability, once agreed, are the people's."""
    if who.id != operation.id:
        raise Forbidden("a node registers only itself")
    for other in state.nodes.values():
        if other.name == operation.name and other.id != operation.id:
            raise Conflict(
                f"the name {operation.name!r} belongs to another node", hint="start with --node-name OTHER"
            )
    old = state.nodes.get(operation.id)
    fresh = Node(id=operation.id, name=operation.name, labels=operation.labels, joined=state.time)
    new = replace(
        old or fresh,
        name=operation.name,
        cpus=operation.cpus,
        memory=operation.memory,
        gpus=operation.gpus,
        os=operation.os,
        arch=operation.arch,
        runtimes=operation.runtimes,
        task_slots=operation.task_slots,
        executors=operation.executors,
        labels={**operation.labels, **(old.labels if old else {})},
        updated=state.time,
    )
    state.tables.put(state.nodes, new.id, new)
    state.tables.put(state.principals, who.id, replace(who, name=operation.name))
    _affects_pending(state)
    if old is None:
        notices.reassign(state)
    return Outcome(id=new.id, version=new.version)


def update(state: State, operation: UpdateNode, who: Principal) -> Outcome:
    old = find(state, operation.manifest.name)
    check_version(operation.if_version, old.version)
    wanted = operation.manifest
    new = replace(
        old,
        labels=wanted.labels,
        schedulable=wanted.schedulable,
        drained=old.drained and not wanted.schedulable,
    )
    return _save(state, old, new)


def drain(state: State, operation: DrainNode, who: Principal) -> Outcome:
    old = find(state, operation.name)
    return _save(state, old, replace(old, schedulable=False, drained=True))


def _save(state: State, old: Node, new: Node) -> Outcome:
    if new != old:
        new = replace(new, version=old.version + 1, updated=state.time)
        state.tables.put(state.nodes, new.id, new)
        _affects_pending(state)
    if new.drained != old.drained:
        state.dirty |= {allocation.app for allocation in state.allocations_on(old.id) if allocation.app}
    if new.drained:
        ending.leave(state, old.id)
    if new.schedulable != old.schedulable:
        notices.reassign(state)
    return Outcome(id=new.id, version=new.version)


def find(state: State, name: str) -> Node:
    """By name or id."""
    for node in state.nodes.values():
        if name in (node.name, node.id):
            return node
    raise NotFound(f"there is no node {name!r}", hint="hivemind node ls shows them")


def report(state: State, operation: ReportAllocations, who: Principal) -> Outcome:
    """Only the node itself may speak, only of what it has now, and states only ascend.

    A report about something unknown or already ended is late, not wrong: it is passed over."""
    if who.id != operation.node:
        raise Forbidden("a node reports only its own allocations")
    for each in operation.reports:
        _report_one(state, operation.node, each)
    return Outcome(id=operation.node)


def _report_one(state: State, node: str, said: AllocationReport) -> None:
    old = state.allocations.get(said.id)
    if old is None or old.node != node or old.state.ended:
        return
    if old.for_job:
        ending.reported(state, old, said)
        if said.state.ended:
            _affects_pending(state)
        return
    reached = max(old.state, said.state)
    new = replace(
        old,
        state=reached,
        started=old.started or said.started,
        failing=said.failing and reached < AllocationState.HEALTHY,
        reason=said.reason or ("" if reached > old.state else old.reason),
        exit_code=said.exit_code if said.exit_code is not None else old.exit_code,
    )
    if new != old:
        state.tables.put(state.allocations, new.id, replace(new, updated=state.time))
        state.dirty.add(new.app)
        if new.state.ended:
            _affects_pending(state)


def _affects_pending(state: State) -> None:
    """Capacity changed: whoever waits for a place may have one now."""
    state.dirty |= {state.allocations[id].app for id in state.pending}
