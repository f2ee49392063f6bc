"""A daemon that is stopped in order to be started again: its node says so before it goes, and the hive waits.

What runs on the node goes on without the daemon, so moving it would only do harm. Until the time that the node named
nobody's accusation of it counts (`state.losing`), it keeps its seat as a voter, where it counts as missing like any
other that is down, and it is given nothing new. Who is not back by then is lost as ever, as soon as enough voters say
so. A node that dies says nothing before, and nothing of this is about it.

*Nobody holds work hostage*: only the node itself can say it, of its present life, and for each millisecond
of absence it owes `COST` of them, which pass like any others, and it never owes more than `ALLOWANCE`. So it is waited
for at most ten minutes at once, and no more than a sixth of the time in the long run. What it said it would need and
did not use costs nothing. (This is the generic cell rate algorithm, ITU-T I.371: one number is kept.)
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from hivemind.errors import Conflict, Forbidden, Invalid, NotFound
from hivemind.model.node import Node
from hivemind.model.principal import Principal
from hivemind.state import draining, losing
from hivemind.state.jobs import notices
from hivemind.state.operations import AnnounceRestart
from hivemind.state.state import Outcome, State

ALLOWANCE: Final = 3_600_000
"""Milliseconds that may be owed."""
COST: Final = 6
"""Milliseconds that are owed for each of an announced absence."""
SHORTEST: Final = 1_000
"""Milliseconds: less than that is nothing to wait for."""


def announce(state: State, operation: AnnounceRestart, who: Principal) -> Outcome:
    if who.id != operation.node:
        raise Forbidden("a node announces only that it is started anew itself")
    if operation.grace < SHORTEST:
        raise Invalid("nobody is away for less than a second", hint="say how long it may take")
    known = state.nodes.get(operation.node)
    if known is None:
        raise NotFound("this node is not of the hive", hint="hivemind cluster status")
    if known.away or operation.incarnation != known.incarnation:
        raise Conflict(f"node {known.name!r} leads another life by now", hint="register first")
    node = back(known, state.time)
    owed = max(node.excused - state.time, 0)
    granted = min(operation.grace, (ALLOWANCE - owed) // COST)
    if granted < SHORTEST:
        raise Conflict(
            f"node {node.name!r} was away on purpose too often lately: nobody waits for it now",
            hint="drain it first, or let it go: what runs on it is begun elsewhere",
        )
    excused = state.time + owed + granted * COST
    away = replace(node, restarting=state.time + granted, excused=excused, updated=state.time)
    losing.forget_accusations(state, node.id)
    state.tables.put(state.nodes, node.id, away)
    draining.set_timer(state, away)
    notices.reassign(state)
    return Outcome(id=node.id, version=node.version)


def back(node: Node, time: int) -> Node:
    """As it is once it is there again; the rest of its time costs nothing."""
    unused = max(node.restarting - time, 0)
    return replace(node, restarting=0, excused=node.excused - unused * COST)
