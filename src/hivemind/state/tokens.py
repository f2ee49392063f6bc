"""Permissions to join: made and taken back by administrators, used up by the nodes that join, gone when they expire."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from hivemind.errors import Conflict, Forbidden, Invalid, NotFound
from hivemind.model.hive import Hive, JoinToken, NodeRole
from hivemind.model.principal import Principal
from hivemind.state.operations import DeleteJoinToken, PutJoinToken
from hivemind.state.state import Outcome, State

MOST_USES: Final = 1000
LONGEST: Final = 366 * 86_400_000
"""Milliseconds that a token may be good for."""
_CREATE = "ask for another: hivemind cluster token create"


def hive_of(state: State) -> Hive:
    """Raises `Conflict` where a node is alone."""
    if state.hive_record is None:
        raise Conflict("this node is alone: no hive was founded", hint="hivemind cluster init founds one")
    return state.hive_record


def put(state: State, operation: PutJoinToken, who: Principal) -> Outcome:
    hive_of(state)
    old = state.join_tokens.get(operation.id)
    if not 1 <= operation.uses <= MOST_USES:
        raise Invalid(f"a token for {operation.uses} nodes is not possible", hint=f"choose 1 to {MOST_USES}")
    if operation.expires <= state.time:
        raise Invalid("this token would have expired already", hint="say for how long: --expires 1h")
    if operation.expires > state.time + LONGEST:
        raise Invalid("a token is good for a year at most", hint="say for how long: --expires 1h")
    if operation.id in state.principals or operation.id in state.nodes:
        raise Conflict("this key belongs to somebody already", hint="make a key for the token alone")
    if old is not None:
        raise Conflict(f"there is the token {old.id[:12]} already", hint="make another key")
    token = JoinToken(
        id=operation.id,
        role=operation.role,
        uses=operation.uses,
        expires=operation.expires,
        created=state.time,
        by=who.name,
    )
    state.tables.put(state.join_tokens, token.id, token)
    state.deadlines.put(("token", token.id), token.expires)
    return Outcome(id=token.id)


def delete(state: State, operation: DeleteJoinToken, who: Principal) -> Outcome:
    found = find(state, operation.id)
    void(state, found.id)
    return Outcome(id=found.id)


def void(state: State, id: str) -> None:
    """Nobody joins with it any more."""
    state.tables.remove(state.join_tokens, id)
    state.deadlines.pop(("token", id))


def find(state: State, id: str) -> JoinToken:
    """By its id or the beginning of it."""
    found = [token for token in state.join_tokens.values() if id and token.id.startswith(id)]
    if not found:
        raise NotFound(f"there is no token {id[:12]!r}", hint="hivemind cluster token ls shows them")
    if len(found) > 1:
        raise Conflict(f"{len(found)} tokens begin with {id!r}", hint="write more of it")
    return found[0]


def use(state: State, id: str, role: NodeRole) -> None:
    """One node joins with it, in that role. Raises `Forbidden`."""
    token = state.join_tokens.get(id)
    if token is None or token.expires <= state.time:
        raise Forbidden("this token has expired, or was revoked, or is of another hive", hint=_CREATE)
    if token.uses < 1:
        raise Forbidden("this token is used up", hint=_CREATE)
    if token.role != role:
        raise Forbidden(
            f"this token is for a {token.role}, not for a {role}", hint=f"{_CREATE} --role {role}"
        )
    state.tables.put(
        state.join_tokens, id, replace(token, uses=token.uses - 1, used=token.used + 1)
    )  # fmt: skip


def expire(state: State, id: str) -> None:
    """A timer."""
    if id in state.join_tokens:
        state.tables.remove(state.join_tokens, id)


def give_back(state: State, id: str) -> None:
    """Who used it did not come in after all."""
    token = state.join_tokens.get(id)
    if token is not None:
        state.tables.put(
            state.join_tokens, id, replace(token, uses=token.uses + 1, used=token.used - 1)
        )  # fmt: skip
