"""When a node counts as lost, what follows from it, and how it comes back.

Nodes accuse each other of not being reached any more; that is hearsay. The hive goes on without a node only when enough
accusations stand at the same time, within `WINDOW` of each other, of the life that it leads now.

*Whose word counts*: that of the voters. Agreement rests on there being at most f liars among these, and on nothing
about the others; of f + 1 voters one at least tells the truth. No single voter is believed while there is another that
could be asked: its own way to the accused may be what is broken. So with n = 3 it takes both of the others, with n = 2
the other one, whose word cannot be agreed upon anyway until the accused is back to agree to it or is only a worker.

*No mass suicide*: whoever is cut off with a minority cannot get an accusation agreed, however many it accuses. The word
of a node that counts as lost itself does not count; of two groups that accuse each other the one goes on whose
accusations were agreed first, and it has a quorum.

*Fencing*: what ran on a lost node is `LOST` for ever. Its slots and tasks get other attempts, with higher numbers, and
whatever the node still reports of the old ones is about nothing that lives. It comes back with `RegisterNode` and a
higher incarnation, by when it has caught up with what was agreed and ended what was taken from it.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from hivemind.errors import Conflict, Forbidden, Invalid, NotFound
from hivemind.model.allocation import Allocation, AllocationState
from hivemind.model.hive import Accusation
from hivemind.model.node import Node
from hivemind.model.principal import Principal
from hivemind.state.jobs import ending, notices
from hivemind.state.operations import AccuseNode, AcquitNode
from hivemind.state.state import Outcome, State

WINDOW: Final = 60_000
"""Milliseconds that an accusation stands. Who still does not reach the node says so again before that."""
CALM: Final = 3_600_000
"""Milliseconds after which it is forgotten that a node was lost before."""
_FIRST_HOLD = 30_000
_LONGEST_HOLD = 1_800_000
"""Milliseconds for which a node that was lost again and again is given nothing new."""


def accuse(state: State, operation: AccuseNode, who: Principal) -> Outcome:
    """An accusation of an earlier life, or of a node that is lost already, is late, not wrong: it is passed over. So is
    one of a node that said that it would not answer for a while."""
    accused = _known(state, operation.node)
    if who.id == accused.id:
        raise Invalid("a node does not accuse itself", hint="to go, leave: hivemind cluster leave")
    if not may_accuse(state, who.id):
        raise Forbidden(
            "only the word of voters that are there counts", hint="hivemind cluster status shows who votes"
        )
    if operation.incarnation != accused.incarnation or accused.away or accused.restarting:
        return Outcome(id=accused.id)
    said = Accusation(accused=accused.id, accuser=who.id, incarnation=operation.incarnation, time=state.time)
    state.tables.put(state.accusations, said.key, said)
    state.deadlines.put(("accusation", said.key), state.time + WINDOW)
    _judge(state)
    return Outcome(id=accused.id)


def acquit(state: State, operation: AcquitNode, who: Principal) -> Outcome:
    accused = _known(state, operation.node)
    forget_accusation(state, f"{accused.id}/{who.id}")
    return Outcome(id=accused.id)


def may_accuse(state: State, node: str) -> bool:
    return node in state.voters and node in state.nodes and not state.nodes[node].away


def needed(state: State, accused: str) -> int:
    """How many voters must accuse that node."""
    f = (len(state.voters) - 1) // 3
    others = sum(1 for id in state.voters if id != accused and may_accuse(state, id))
    return max(f + 1, min(2, others))


def accusers(state: State, accused: str) -> list[str]:
    """Ids of those whose word counts now."""
    said = (state.accusations[key] for key in sorted(state.about.accused.get(accused, ())))
    incarnation = state.nodes[accused].incarnation
    return [a.accuser for a in said if a.incarnation == incarnation and may_accuse(state, a.accuser)]


def expire(state: State, key: str) -> None:
    """A timer: that accusation was not said again."""
    said = state.accusations.get(key)
    if said is None:
        return
    if said.time + WINDOW <= state.time:
        state.tables.remove(state.accusations, key)
    else:
        state.deadlines.put(("accusation", key), said.time + WINDOW)


def forget_accusation(state: State, key: str) -> None:
    if key in state.accusations:
        state.tables.remove(state.accusations, key)
        state.deadlines.pop(("accusation", key))


def forget_accusations(state: State, node: str, *, by: bool = False) -> None:
    """Those of the node and, with `by`, its own."""
    keys = set(state.about.accused.get(node, ()))
    if by:
        keys |= {key for key, said in state.accusations.items() if said.accuser == node}
    for key in sorted(keys):
        forget_accusation(state, key)


def _known(state: State, id: str) -> Node:
    if id not in state.nodes:
        raise NotFound(f"there is no node {id[:12]!r}", hint="hivemind node ls shows them")
    return state.nodes[id]


def _judge(state: State) -> None:
    """That one is lost takes its word away, so the others are looked at again until nothing changes."""
    busy = True
    while busy:
        busy = False
        for id in sorted(state.about.accused):
            if id in state.nodes and len(accusers(state, id)) >= needed(state, id):
                lose(state, id)
                busy = True
                break


# -- losing, returning ---------------------------------------------------------------------------------------


def lose(state: State, id: str) -> None:
    """The hive goes on without that node until it is back."""
    old = state.nodes[id]
    calm = not old.returned or state.time - old.returned >= CALM
    lost = replace(old, lost=state.time, losses=1 if calm else old.losses + 1, ready=0, held_until=0)
    state.tables.put(state.nodes, id, lost)
    forget_accusations(state, id, by=True)
    take_away(state, id, f"node {old.name} is lost")
    notices.reassign(state)


def take_away(state: State, id: str, why: str) -> None:
    """All that lives on the node is lost: slots and tasks get other attempts, on other nodes."""
    for allocation in state.allocations_on(id):
        if allocation.for_job:
            ending.lost(state, allocation, why)
        elif allocation.live:
            _lose_replica(state, allocation, why)
    state.dirty |= {state.allocations[id].app for id in state.pending}


def _lose_replica(state: State, old: Allocation, why: str) -> None:
    lost = replace(old, state=AllocationState.LOST, moving_to="", reason=why, updated=state.time)
    state.tables.put(state.allocations, old.id, lost)
    state.dirty.add(old.app)


def returned(state: State, old: Node, incarnation: int) -> Node:
    """The node as it is after it registered with that incarnation. Raises `Conflict` for one that is not higher than
    what is known, where it has to be."""
    if incarnation < old.incarnation or (old.lost and incarnation == old.incarnation):
        raise Conflict(
            f"node {old.name!r} has registered with the incarnation {old.incarnation}"
            + (" and was lost since" if old.lost else ""),
            hint=f"register with a higher one: {old.incarnation + 1}",
        )
    if incarnation > old.incarnation:
        forget_accusations(state, old.id)
    new = replace(old, incarnation=incarnation, expected=False)
    if not old.lost:
        return new
    hold = _hold(old.losses)
    return replace(
        new, lost=0, returned=state.time, held_until=state.time + hold if hold else 0
    )  # fmt: skip


def _hold(losses: int) -> int:
    """Nothing after the first loss, then twice as long each time."""
    if losses < 2:
        return 0
    return min(_FIRST_HOLD << min(losses - 2, 16), _LONGEST_HOLD)
