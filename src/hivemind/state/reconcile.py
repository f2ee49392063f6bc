"""After the operations of a batch: plan every app that something happened to, place what wants a place.

Runs inside `apply`, so every node computes the same placement and no scheduler leads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from hivemind.deployments import rolling
from hivemind.deployments.steps import Conclude, Halt, Place, Plan, Progress, Revert, Settle, Step
from hivemind.model.allocation import Allocation, AllocationState, Desired
from hivemind.model.app import App
from hivemind.model.names import derive_id
from hivemind.model.revision import Revision
from hivemind.scheduler.contract import Hints
from hivemind.scheduler.scheduler import place
from hivemind.state import fencing, pins, rebalancing, volume_use, volumes, zones
from hivemind.state.asking import ask
from hivemind.state.deadlines import Timer
from hivemind.state.dependencies import waits
from hivemind.state.jobs.advance import advance
from hivemind.state.state import State, revision_key
from hivemind.state.succession import succeeding
from hivemind.state.upkeep import TIMERS, recall_upkeep, upkeep

_ROUNDS = 50
"""More rounds than any plan can need; beyond them the strategy is defective."""
_ENDED_KEPT = 2
"""Ended allocations kept for each slot, so that their logs can still be read."""
_SURPLUS_KEPT = 10
"""Stopped allocations kept of all slots that the app has no more: it may have had thousands."""
_DEPLOYMENTS_KEPT = 20


def reconcile(state: State, passed: Sequence[Timer]) -> None:
    """`passed`: timers whose time has come."""
    upkeep(state, [timer for timer in passed if timer[0] in TIMERS])
    state.dirty |= {key for kind, key in passed if kind == "app"}
    _reconcile_apps(state)
    advance(state, [timer for timer in passed if timer[0] != "app" and timer[0] not in TIMERS])


def _reconcile_apps(state: State) -> None:
    for _ in range(_ROUNDS):
        if not state.dirty:
            return
        dirty, state.dirty = sorted(state.dirty), set()
        for app in dirty:
            _plan_app(state, app)
        _place_pending(state)
        for app in dirty:
            _forget(state, app)
    raise AssertionError(f"planning does not come to rest: {sorted(state.dirty)}")


def recall_deadlines(state: State) -> None:
    """After a restore: everything is at rest, so planning again only tells the timers."""
    for id in state.apps:
        _set_deadline(state, id, _plan(state, state.apps[id]))
    recall_upkeep(state)


def _plan(state: State, app: App) -> Plan:
    leaving = frozenset(node.id for node in state.nodes.values() if node.drained)
    return rolling.plan(
        app,
        succeeding(state, app),
        state.slots_of(app.id),
        lambda slot: state.allocations_in(app.id, slot),
        state.allocations_beyond(app.id, 0 if app.stopped or app.deleted else app.replicas),
        state.deployment_of(app),
        state.time,
        leaving,
    )


def _plan_app(state: State, id: str) -> None:
    app = state.apps.get(id)
    if app is None:
        return
    plan = _plan(state, app)
    for step in plan.steps:
        _EXECUTE[type(step)](state, state.apps[id], step)
        state.dirty.add(id)
    _set_deadline(state, id, plan)


def _set_deadline(state: State, id: str, plan: Plan) -> None:
    if plan.deadline is None:
        state.deadlines.pop(("app", id))
    else:
        state.deadlines.put(("app", id), plan.deadline)


# -- steps ---------------------------------------------------------------------------------------------------


def _place(state: State, app: App, step: Place) -> None:
    attempt = app.serial + 1
    state.tables.put(state.apps, app.id, replace(app, serial=attempt))
    allocation = Allocation(
        id=derive_id("allocation", app.id, step.slot, attempt),
        project=app.project,
        app=app.id,
        app_name=app.name,
        revision=step.revision,
        slot=step.slot,
        attempt=attempt,
        created=state.time,
        updated=state.time,
    )
    state.tables.put(state.allocations, allocation.id, allocation)


def _halt(state: State, app: App, step: Halt) -> None:
    old = state.allocations[step.allocation]
    if old.state is AllocationState.PENDING:
        new = replace(old, desired=Desired.STOP, state=AllocationState.STOPPED, reason=step.reason)
    else:
        new = replace(old, desired=Desired.STOP, reason=step.reason)
    state.tables.put(state.allocations, new.id, replace(new, updated=state.time))


def _progress(state: State, app: App, step: Progress) -> None:
    running = state.running_deployment(app.id)
    assert running, "only a running deployment gets on"
    further = step.done > running.done
    new = replace(
        running,
        done=step.done,
        total=step.total,
        progressed=state.time if further else running.progressed,
    )
    state.tables.put(state.deployments, new.id, new)


def _conclude(state: State, app: App, step: Conclude) -> None:
    running = state.running_deployment(app.id)
    assert running, "only a running deployment is concluded"
    ended = replace(running, state=step.state, reason=step.reason, ended=state.time)
    state.tables.put(state.deployments, ended.id, ended)
    _trim_deployments(state, app)


def _settle(state: State, app: App, step: Settle) -> None:
    state.tables.put(state.apps, app.id, replace(app, stable=step.revision))


def _revert(state: State, app: App, step: Revert) -> None:
    state.tables.put(state.apps, app.id, replace(app, revision=step.revision, updated=state.time))


_EXECUTE: dict[type[Step], Callable[[State, App, Any], None]] = {
    Place: _place,
    Halt: _halt,
    Progress: _progress,
    Conclude: _conclude,
    Settle: _settle,
    Revert: _revert,
}


# -- placing -------------------------------------------------------------------------------------------------


def _place_pending(state: State) -> None:
    """Round by round: of those that will bring a volume to their node only one is placed at a time, so that the
    others find it there. What is refused speaks for all that are like it."""
    pending = sorted(state.pending)
    too_early = waits(state, (state.allocations[id] for id in pending))
    too_early |= fencing.held(state, [state.allocations[id] for id in pending if id not in too_early])
    for id, why in too_early.items():
        _refuse(state, id, why)
    waiting = [id for id in pending if id not in too_early]
    refused: dict[tuple[object, ...], str] = {}
    while waiting:
        now, waiting = _apart(state, waiting)
        known = [id for id in now if _likeness(state, id) in refused]
        for id in known:
            _refuse(state, id, refused[_likeness(state, id)])
        refused |= _place_round(state, [id for id in now if id not in known])


def _likeness(state: State, id: str) -> tuple[object, ...]:
    allocation = state.allocations[id]
    to = rebalancing.target(state, allocation)
    return (allocation.app, allocation.revision, volume_use.ties(state, allocation), to)


def _apart(state: State, ids: list[str]) -> tuple[list[str], list[str]]:
    """Those that can be placed together, and those that want what one of these will bring."""
    now: list[str] = []
    later: list[str] = []
    coming: set[str] = set()
    for id in ids:
        loose = volume_use.loose(state, state.allocations[id])
        (later if loose & coming else now).append(id)
        coming |= loose
    return now, later


def _place_round(state: State, ids: list[str]) -> dict[tuple[object, ...], str]:
    """Why those that found no place did not."""
    refused = {}
    mine = [state.allocations[id] for id in ids]
    asks = [ask(state, each, rebalancing.target(state, each)) for each in mine]
    found = zones.hints(state) if asks else Hints()
    asks = zones.spread(state, asks, found)
    for placement in place(asks, state.nodes, state.uses(), found) if asks else ():
        if not placement.node:
            refused[_likeness(state, placement.ask)] = placement.explanation
            _refuse(state, placement.ask, placement.explanation)
            continue
        new = replace(
            state.allocations[placement.ask],
            node=placement.node, state=AllocationState.PLACED, placed=state.time, reason="", updated=state.time,
        )  # fmt: skip
        state.tables.put(state.allocations, new.id, new)
        volumes.bind(state, new)
    return refused


def _refuse(state: State, id: str, why: str) -> None:
    old = state.allocations[id]
    if old.reason != why:
        state.tables.put(state.allocations, id, replace(old, reason=why, updated=state.time))


# -- forgetting ----------------------------------------------------------------------------------------------


def _forget(state: State, id: str) -> None:
    """Ended allocations beyond the newest few of each slot, and all of a deleted app once nothing runs."""
    app = state.apps.get(id)
    if app is None:
        return
    if app.deleted and not any(a.live for a in state.allocations_of(id)):
        _purge(state, app)
        return
    surplus = [a for a in state.allocations_beyond(id, app.replicas) if a.state is AllocationState.STOPPED]
    surplus.sort(key=lambda a: a.attempt)
    forgotten = {a.id for a in surplus[:-_SURPLUS_KEPT]}
    for slot in _ended_in(state, id):
        ended = [a for a in state.allocations_in(id, slot) if not a.live]
        # That its replica of a revision ended for good decides what is done with the slot, also after a roll-back.
        decisive = {a.revision: a.id for a in ended if a.revision in (app.revision, app.stable)}
        forgotten |= {a.id for a in ended[:-_ENDED_KEPT]} - set(decisive.values())
    for id in sorted(forgotten):
        state.tables.remove(state.allocations, id)
    _trim_revisions(state, app)


def _ended_in(state: State, app: str) -> set[int]:
    """Slots of the app in which something ended in this batch: the others were seen to when something did."""
    changed = (change.new for change in state.changes if change.table == "allocations")
    return {new.slot for new in changed if new is not None and new.app == app and not new.live}


def _purge(state: State, app: App) -> None:
    for allocation in state.allocations_of(app.id):
        state.tables.remove(state.allocations, allocation.id)
    for deployment in state.deployments_of(app.id):
        state.tables.remove(state.deployments, deployment.id)
    _drop_revisions(state, app, state.revisions_of(app))
    state.deadlines.pop(("app", app.id))
    state.tables.remove(state.apps, app.id)


def _trim_deployments(state: State, app: App) -> None:
    for deployment in state.deployments_of(app.id)[:-_DEPLOYMENTS_KEPT]:
        state.tables.remove(state.deployments, deployment.id)


def _trim_revisions(state: State, app: App) -> None:
    kept = state.revisions_of(app)
    if len(kept) <= _DEPLOYMENTS_KEPT:
        return
    needed = {app.revision, app.stable} | state.revisions_in_use(app.id)
    old = [r for r in kept if r.number <= app.latest - _DEPLOYMENTS_KEPT and r.number not in needed]
    _drop_revisions(state, app, old)


def _drop_revisions(state: State, app: App, revisions: Sequence[Revision]) -> None:
    """With them goes what only they used."""
    for revision in revisions:
        state.tables.remove(state.revisions, revision_key(app.id, revision.number))
    pins.forget(state, app.project, {pin for revision in revisions for pin in revision.pins})
