"""What operations do to nodes, and what nodes report of their allocations."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from hivemind.errors import Conflict, Forbidden, Invalid
from hivemind.model.allocation import AllocationState
from hivemind.model.node import Node
from hivemind.model.principal import Principal
from hivemind.state import draining, losing, membership, offers, restarting
from hivemind.state.jobs import ending, notices
from hivemind.state.leaving import find
from hivemind.state.operations import AllocationReport, DrainNode, RegisterNode, ReportAllocations, UpdateNode
from hivemind.state.projects import check_version
from hivemind.state.state import Outcome, State

LONGEST_REASON: Final = 4096
"""Characters: it is kept with the allocation, or the task, by all nodes."""


def register(state: State, operation: RegisterNode, who: Principal) -> Outcome:
    """Capacities are the node's word; labels and schedulability, once agreed, are the people's."""
    if who.id != operation.id:
        raise Forbidden("a node registers only itself")
    offers.check(state, operation)
    if state.about.named(operation.name) not in ("", operation.id):
        raise Conflict(
            f"the name {operation.name!r} belongs to another node", hint="start with --node-name OTHER"
        )
    membership.check_protocol(state, operation.protocol)
    old = state.nodes.get(operation.id)
    fresh = Node(id=operation.id, name=operation.name, labels=operation.labels, joined=state.time)
    new = replace(
        restarting.back(losing.returned(state, old or fresh, operation.incarnation), state.time),
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
        addresses=operation.addresses,
        subnet=operation.subnet,
        protocol=operation.protocol,
        updated=state.time,
    )
    state.tables.put(state.nodes, new.id, new)
    state.tables.put(state.principals, who.id, replace(who, name=operation.name))
    draining.set_timer(state, new)
    membership.raise_protocol(state)
    _affects_pending(state)
    if old is None or old.away or old.restarting:
        notices.reassign(state)
    return Outcome(id=new.id, version=new.version)


def update(state: State, operation: UpdateNode, who: Principal) -> Outcome:
    old = find(state, operation.manifest.name)
    check_version(operation.if_version, old.version)
    wanted = operation.manifest
    if old.leaving and wanted.schedulable:
        raise Conflict(f"node {old.name!r} is leaving the hive", hint="let it join again once it has left")
    drained = old.drained and not wanted.schedulable
    new = replace(
        old,
        labels=wanted.labels,
        schedulable=wanted.schedulable,
        drained=drained,
        deadline=old.deadline if drained else 0,
    )
    return _save(state, old, new)


def drain(state: State, operation: DrainNode, who: Principal) -> Outcome:
    old = find(state, operation.name)
    if operation.deadline < 0:
        raise Invalid("a deadline lies ahead", hint="say how long it may take: --deadline 10m")
    due = state.time + operation.deadline if operation.deadline else 0
    outcome = _save(state, old, replace(old, schedulable=False, drained=True, deadline=due))
    if operation.force:
        draining.stop_hard(state, old, f"node {old.name} is drained by force")
    return outcome


def _save(state: State, old: Node, new: Node) -> Outcome:
    if new != old:
        new = replace(new, version=old.version + 1, updated=state.time)
        state.tables.put(state.nodes, new.id, new)
        draining.set_timer(state, new)
        _affects_pending(state)
    if new.drained != old.drained:
        state.dirty |= {allocation.app for allocation in state.allocations_on(old.id) if allocation.app}
    if new.drained:
        ending.leave(state, old.id)
    if new.schedulable != old.schedulable:
        notices.reassign(state)
    return Outcome(id=new.id, version=new.version)


def report(state: State, operation: ReportAllocations, who: Principal) -> Outcome:
    """Only the node itself may speak, only of what it has now, and states only ascend.

    A report about something unknown or already ended is late, not wrong: it is passed over."""
    if who.id != operation.node:
        raise Forbidden("a node reports only its own allocations")
    for each in operation.reports:
        _report_one(state, operation.node, replace(each, reason=each.reason[:LONGEST_REASON]))
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
