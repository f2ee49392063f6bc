"""Who decides: the voters of the hive, chosen by everyone alike from what was agreed about the nodes.

A change of voters is agreed like everything else and begins at a later sequence, `MARGIN` ahead, so that whatever is
under way by then is decided by those with whom it began. One change is in flight at a time.

That a voter is not reached is no reason to have fewer: with fewer voters fewer have to agree, and two halves of a hive
that each believe the other gone would decide on their own. A lost voter is *replaced* by a node that is ready, or keeps
its seat until it is back. Only what a person wishes (a node leaves, is expelled) and what is proved (it lied) takes a
seat away, and never the last one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from hivemind.model.hive import Epoch, Hive, Term
from hivemind.model.node import Node
from hivemind.protocols.pbft.limits import MARGIN
from hivemind.state.state import State

FEWEST: Final = 4
"""Voters that survive one that lies: what `require_bft` asks for."""
_TERMS_KEPT = 100


def begin(state: State) -> None:
    """The next epoch begins with the batch that is being applied, if that is its first."""
    hive = state.hive_record
    if hive is None or hive.next is None or state.sequence < hive.next.since:
        return
    before, now = set(hive.epoch.voters), hive.next
    begun = replace(hive, epoch=now, since=state.time, next=None, change="")
    state.tables.put(state.hives, hive.id, begun)
    remember(state, Term(epoch=now, time=state.time, reason=hive.change))
    for id in sorted(before ^ set(now.voters)):
        if id in state.nodes:
            state.tables.put(state.nodes, id, replace(state.nodes[id], served=state.time))


def remember(state: State, term: Term) -> None:
    state.tables.put(state.terms, term_key(term.epoch.number), term)
    for key in list(state.terms)[:-_TERMS_KEPT]:
        state.tables.remove(state.terms, key)


def term_key(number: int) -> str:
    return f"{number:08d}"


def tend(state: State) -> None:
    """Agrees on the next epoch, if other voters are wanted than there are."""
    hive = state.hive_record
    if hive is None or hive.next is not None:
        _await(state)
        return
    wanted, why = chosen(state, hive)
    if wanted != hive.epoch.voters:
        following = Epoch(number=hive.epoch.number + 1, since=state.sequence + MARGIN, voters=wanted)
        state.tables.put(state.hives, hive.id, replace(hive, next=following, change=why))
    _await(state)


def _await(state: State) -> None:
    """An epoch begins although nobody wishes anything: until then a batch is wanted as soon as the last was applied.
    And whose turn it is, is looked at when a term ends."""
    hive = state.hive_record
    if hive is None:
        return
    if hive.next is not None:
        state.deadlines.put(("epoch", ""), state.time)
    else:
        state.deadlines.pop(("epoch", ""))
    term = hive.since + hive.rotation
    if hive.rotation and hive.next is None and term > state.time:
        state.deadlines.put(("rotation", ""), term)
    else:
        state.deadlines.pop(("rotation", ""))


recall = _await
"""After a restore: sets the timers."""


# -- choosing ------------------------------------------------------------------------------------------------


def chosen(state: State, hive: Hive) -> tuple[tuple[str, ...], str]:
    """The voters that are wanted now, sorted, and what changed about them. As long as nothing has to change it is those
    that there are."""
    seated = list(hive.epoch.voters)
    spare = spares(state, seated)
    said: list[str] = []
    for id in [id for id in seated if _gone(state, id)]:
        _unseat(state, hive, seated, spare, id, said)
    for id in [id for id in seated if _lost(state, id)]:
        if spare:
            _swap(state, seated, spare, id, said, "is lost")
    _grow(state, hive, seated, spare, said)
    _shrink(state, hive, seated, said)
    if not said and hive.rotation and spare and state.time >= hive.since + hive.rotation:
        longest = min(seated, key=lambda id: (state.nodes[id].served if id in state.nodes else 0, id))
        _swap(state, seated, spare, longest, said, "served its term")
    return tuple(sorted(seated)), "; ".join(said)


def spares(state: State, seated: Iterable[str]) -> list[str]:
    """Nodes that could be voters and are not: first those that never were, then by how long ago."""
    beside = state.about.ready - set(seated)
    found = [state.nodes[id] for id in beside if eligible(state.nodes[id])]
    return [node.id for node in sorted(found, key=lambda node: (node.served, node.ready, node.id))]


def eligible(node: Node) -> bool:
    return bool(node.ready) and node.role != "worker" and not (node.away or node.leaving or node.restarting)


def without(state: State, hive: Hive, id: str) -> int:
    """How many voters there would be if that node were gone."""
    seats = [voter for voter in hive.epoch.voters if voter != id and not _gone(state, voter)]
    others = [spare for spare in spares(state, hive.epoch.voters) if spare != id]
    return min(len(seats) + len(others), max(hive.max_voters, len(seats)))


def _gone(state: State, id: str) -> bool:
    """It is no node of the hive any more, or will soon be none."""
    return id not in state.nodes or bool(state.nodes[id].leaving)


def _lost(state: State, id: str) -> bool:
    return id in state.nodes and bool(state.nodes[id].lost)


def _unseat(state: State, hive: Hive, seated: list[str], spare: list[str], id: str, said: list[str]) -> None:
    """A seat is kept, even empty, where one fewer would be none or would break `require_bft`: it counts among those of
    which some may be missing."""
    if spare:
        _swap(state, seated, spare, id, said, "went")
    elif len(seated) > 1 and not (hive.require_bft and len(seated) <= FEWEST):
        seated.remove(id)
        said.append(f"{_name(state, id)} went")


def _swap(state: State, seated: list[str], spare: list[str], id: str, said: list[str], why: str) -> None:
    seated.remove(id)
    seated.append(spare.pop(0))
    said.append(f"{_name(state, id)} {why}, {_name(state, seated[-1])} in its place")


def _grow(state: State, hive: Hive, seated: list[str], spare: list[str], said: list[str]) -> None:
    """With `require_bft` one decides alone until there are enough."""
    room = hive.max_voters - len(seated)
    if hive.require_bft and len(seated) + min(room, len(spare)) < FEWEST:
        return
    for id in spare[: max(room, 0)]:
        seated.append(id)
        said.append(f"{_name(state, id)} came")
    del spare[: max(room, 0)]


def _shrink(state: State, hive: Hive, seated: list[str], said: list[str]) -> None:
    """Fewer are allowed than there are: a person's wish. First go those that are lost, then who served longest."""

    def order(id: str) -> tuple[bool, int, str]:
        return not _lost(state, id), state.nodes[id].served if id in state.nodes else 0, id

    for id in sorted(seated, key=order)[: max(len(seated) - hive.max_voters, 0)]:
        seated.remove(id)
        said.append(f"{_name(state, id)} made room: {hive.max_voters} are enough")


def _name(state: State, id: str) -> str:
    if id in state.nodes:
        return state.nodes[id].name
    return state.expulsions[id].name if id in state.expulsions else id[:12]
