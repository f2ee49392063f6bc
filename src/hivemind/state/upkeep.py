"""After the operations of a batch: what follows for the hive itself, before apps and jobs are looked at.

Timers whose time has come, nodes that leave and have nothing left, replicas that move, other voters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from hivemind.state import draining, fencing, leaving, losing, rebalancing, tokens, voters
from hivemind.state.deadlines import Timer
from hivemind.state.state import State


def upkeep(state: State, passed: Sequence[Timer]) -> None:
    """`passed`: timers of the hive whose time has come."""
    for kind, key in passed:
        TIMERS[kind](state, key)
    leaving.finish(state)
    rebalancing.tend(state)
    looked_at = {"nodes", "hives"}
    if passed or any(change.table in looked_at for change in state.changes):
        voters.tend(state)


def recall_upkeep(state: State) -> None:
    """After a restore, when everything is at rest: sets the timers."""
    for key, said in state.accusations.items():
        state.deadlines.put(("accusation", key), said.time + losing.WINDOW)
    for id, token in state.join_tokens.items():
        state.deadlines.put(("token", id), token.expires)
    for node in state.nodes.values():
        draining.set_timer(state, node)
    rebalancing.recall(state)
    fencing.recall(state)
    voters.recall(state)


def _tend(state: State, key: str) -> None:
    """A batch was wanted, and here it is: `voters.tend` follows."""


TIMERS: Final[dict[str, Callable[[State, str], None]]] = {
    "accusation": losing.expire,
    "token": tokens.expire,
    "node": draining.passed,
    "fence": fencing.passed,
    "moves": _tend,
    "epoch": _tend,
    "rotation": _tend,
}
