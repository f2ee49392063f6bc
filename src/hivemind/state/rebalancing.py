"""Replicas move to nodes that joined, where the hive wants that: surge-first, one at a time, and never what is tied.

A move is a wish in the record of the replica that is to go (`moving_to`). Its slot gets another attempt on that node;
when this is healthy the old one stops. Until then nothing is taken from anybody: if the node has no room any more, or
the attempt fails or is not healthy in time, the wish is taken back and the old one stays.

Only apps that are at rest take part: nothing is being deployed, every replica is healthy. What mounts a volume that is
on one node, listens in its node's own network or is stop-first stays where it is: it could only move by stopping.

When to look again stands in the hive's record (`balance`), so that a node that was restored looks when all others do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from hivemind.model.allocation import Allocation, AllocationState, Desired
from hivemind.model.app import App
from hivemind.model.node import Node
from hivemind.scheduler.scheduler import Scheduler
from hivemind.state import volume_use
from hivemind.state.asking import ask
from hivemind.state.state import State
from hivemind.state.succession import succeeding

PAUSE: Final = 5_000
"""Milliseconds from the end of one move to the next."""
PATIENCE: Final = 60_000
"""Milliseconds after which it is looked again, when apps were not at rest."""
_TARGETS = 3
"""Nodes with most room that are tried."""


def tend(state: State) -> None:
    """What became of the move under way, and the next one."""
    hive = state.hive_record
    if hive is None:
        return
    for id in sorted(state.about.moving):
        _look(state, state.allocations[id], wanted=hive.rebalance)
    if not hive.rebalance:
        _look_again(state, 0)
    elif not state.about.moving:
        hive = state.hives[hive.id]
        if not hive.balance and any(change.table == "nodes" for change in state.changes):
            _look_again(state, state.time + PAUSE)
        elif 0 < hive.balance <= state.time:
            _begin(state)
    recall(state)


def recall(state: State) -> None:
    """Sets the timer."""
    hive = state.hive_record
    due = [hive.balance] if hive and hive.balance else []
    due += [_due(state, state.allocations[id]) for id in sorted(state.about.moving)]
    if due:
        state.deadlines.put(("moves", ""), min(due))
    else:
        state.deadlines.pop(("moves", ""))


def target(state: State, allocation: Allocation) -> str:
    """Id of the node to which it has to go, because it is the new attempt of a replica that moves; mostly empty."""
    if not state.about.moving or allocation.for_job:
        return ""
    others = state.allocations_in(allocation.app, allocation.slot)
    return next((a.moving_to for a in others if a.moving_to and a.live and a.id != allocation.id), "")


def _look_again(state: State, when: int) -> None:
    hive = state.hives[state.hive]
    if hive.balance != when:
        state.tables.put(state.hives, hive.id, replace(hive, balance=when))


# -- a move under way ----------------------------------------------------------------------------------------


def _look(state: State, old: Allocation, *, wanted: bool) -> None:
    if not old.live or old.desired is Desired.STOP:
        _end(state, old)
        return
    new = _successor(state, old)
    if new is None or not wanted or _spoiled(state, old, new) or state.time >= _due(state, old):
        if new is not None and new.state is AllocationState.FAILED:
            # That a move failed says nothing about the slot, whose replica is as well as ever.
            over = replace(new, state=AllocationState.STOPPED, updated=state.time)
            state.tables.put(state.allocations, new.id, over)
        _end(state, old)


def _spoiled(state: State, old: Allocation, new: Allocation) -> bool:
    """Nothing can come of it any more, or something more urgent came up."""
    app = state.apps[old.app]
    there = state.nodes.get(old.moving_to)
    useless = new.state is AllocationState.PENDING or new.state.ended or there is None or not there.usable
    return useless or app.revision != old.revision or app.paused


def _end(state: State, old: Allocation) -> None:
    """If it is there still, it belongs to its slot again; a second one there is told to stop."""
    state.tables.put(state.allocations, old.id, replace(old, moving_to=""))
    state.dirty.add(old.app)
    _look_again(state, state.time + PAUSE)


def _successor(state: State, old: Allocation) -> Allocation | None:
    newer = [a for a in state.allocations_in(old.app, old.slot) if a.attempt > old.attempt]
    return newer[-1] if newer else None


def _due(state: State, old: Allocation) -> int:
    new = _successor(state, old)
    begun = new.created if new else state.time
    return begun + int(state.spec_of(old).update.healthy_deadline * 1000)


# -- the next one --------------------------------------------------------------------------------------------


def _begin(state: State) -> None:
    restless = False
    for replica, node in _moves(state):
        app = state.apps[replica.app]
        if not _movable(state, app, replica):
            continue
        if not _at_rest(state, app):
            restless = True
        elif _fits(state, replica, node):
            state.tables.put(
                state.allocations, replica.id, replace(replica, moving_to=node.id, updated=state.time)
            )
            state.dirty.add(replica.app)
            _look_again(state, 0)
            return
    _look_again(state, state.time + PATIENCE if restless else 0)


def _moves(state: State) -> Iterator[tuple[Allocation, Node]]:
    """Replicas with nodes on which they would be better off, the best first: from the fullest to the emptiest, of the
    app that has most on one node. Each move makes the fuller of two nodes emptier than it was, so they come to an
    end."""
    uses = state.uses()
    replicas = {
        id: sum(count for app, count in use.apps.items() if app in state.apps) for id, use in uses.items()
    }
    usable = [node for node in state.nodes.values() if node.usable]

    def load(node: Node, more: int = 0) -> float:
        return (replicas[node.id] + more) / (node.cpus or 1.0)

    empty = sorted(usable, key=lambda node: (load(node, 1), node.id))[:_TARGETS]
    full = sorted(usable, key=lambda node: (-load(node), node.id))
    for node in empty:
        for source in full:
            if load(node, 1) >= load(source):
                break
            crowd = uses[source.id].apps
            mine = [a for a in state.allocations_on(source.id) if a.app and a.live]
            for replica in sorted(mine, key=lambda a: (-crowd[a.app], a.app, a.slot)):
                yield replica, node


def _movable(state: State, app: App, replica: Allocation) -> bool:
    spec = succeeding(state, app)
    tied = volume_use.ties(state, replica) or volume_use.loose(state, replica)
    return spec.order == "start-first" and spec.network.mode != "host" and not tied


def _at_rest(state: State, app: App) -> bool:
    if app.paused or app.stopped or app.deleted or state.running_deployment(app.id):
        return False
    live = [a for a in state.allocations_of(app.id) if a.live]
    steady = all(
        a.state is AllocationState.HEALTHY and a.desired is Desired.RUN and a.revision == app.revision
        for a in live
    )
    return steady and len(live) == app.replicas


def _fits(state: State, replica: Allocation, node: Node) -> bool:
    asked = ask(state, replica, to=node.id)
    only = {node.id: node}
    return bool(Scheduler(only, {node.id: state.uses()[node.id]}).place([asked])[0].node)
