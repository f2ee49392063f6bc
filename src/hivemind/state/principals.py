"""What operations do to principals: who is let in, in which role, and who no longer is."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from hivemind.errors import Conflict, Forbidden, Invalid, NotFound
from hivemind.model.names import derive_id
from hivemind.model.principal import Principal, PrincipalManifest, Role
from hivemind.state.operations import RegisterPrincipal, RevokePrincipal
from hivemind.state.projects import check_version
from hivemind.state.state import Outcome, State


def hive_of(founder: str) -> str:
    """The id of the hive that this key founds."""
    return derive_id("hive", founder, length=16)


def found(state: State, operation: RegisterPrincipal, signer: str) -> Outcome:
    """The founder of a new hive makes itself administrator; later ones are let in by an administrator."""
    new = operation.principal
    if new.id != signer or new.role is not Role.ADMIN:
        raise Forbidden("a new hive is founded by its administrator's own key")
    return _put(state, _fresh(state, new))


def register(state: State, operation: RegisterPrincipal, who: Principal) -> Outcome:
    new = operation.principal
    if new.kind == "node":
        return _register_node(state, new)
    named = _person(state, new.name)
    check_version(operation.if_version, named.version if named else 0)
    _validate(state, new)
    old = state.principals.get(new.id)
    if old is None:
        return _put(state, replace(_fresh(state, new), kind="person", version=1))
    if old.role == new.role:
        return Outcome(id=old.id, version=old.version)
    _keep_an_administrator(state, old)
    return _put(state, replace(old, role=new.role, version=old.version + 1, updated=state.time))


def revoke(state: State, operation: RevokePrincipal, who: Principal) -> Outcome:
    old = _person(state, operation.name)
    if old is None:
        _refuse_node(state, operation.name)
        raise NotFound(f"there is no principal {operation.name!r}", hint="hivemind token ls shows them")
    check_version(operation.if_version, old.version)
    _keep_an_administrator(state, old)
    state.tables.remove(state.principals, old.id)
    for key in [key for key, reply in state.replies.items() if reply.signer == old.id]:
        state.tables.remove(state.replies, key)
    return Outcome(id=old.id)


def _register_node(state: State, new: Principal) -> Outcome:
    """Nodes have no wishes, so no role raises them; a person's key stays a person's."""
    if new.id in state.expulsions:
        raise Forbidden("the node with this key was expelled from the hive")
    old = state.principals.get(new.id)
    if old is not None and old.kind != "node":
        raise Conflict(f"this key belongs to the person {old.name!r}", hint="each node has a key of its own")
    if new.role is not Role.VIEWER:
        raise Invalid("a node has no role", hint="leave it out")
    return _put(state, old or _fresh(state, new))


def _validate(state: State, new: Principal) -> None:
    """A name of its own, a key of its own, neither of them a node's."""
    try:
        msgspec.convert({"name": new.name, "role": new.role.name.lower(), "key": new.id}, PrincipalManifest)
    except msgspec.ValidationError as error:
        raise Invalid(str(error).replace("`", "'")) from None
    holder, named = state.principals.get(new.id), _person(state, new.name)
    if named is None:
        _refuse_node(state, new.name)
    if holder is not None and holder.kind == "node":
        raise Forbidden(
            f"this is the key of the node {holder.name!r}",
            hint="make a key for a person: hivemind token create",
        )
    if holder is not None and holder is not named:
        raise Conflict(
            f"this key belongs to {holder.name!r} already",
            hint=f"take it from there first: hivemind token rm {holder.name}",
        )
    if named is not None and named.id != new.id:
        raise Conflict(
            f"the name {new.name!r} belongs to another key",
            hint=f"choose another name, or end that one first: hivemind token rm {new.name}",
        )


def _keep_an_administrator(state: State, old: Principal) -> None:
    """Refuses to take the administrator's role from the one key that the hive cannot do without."""
    if old.role is not Role.ADMIN:
        return
    if hive_of(old.id) == state.hive:
        raise Forbidden(
            f"{old.name!r} founded this hive; with that key root administers it on the founding node's own socket",
            hint="revoke others; this one stays",
        )
    if sum(p.role is Role.ADMIN for p in state.principals.values()) == 1:
        raise Conflict(
            f"{old.name!r} is the last administrator",
            hint="make another one first: hivemind token create --name NAME --role admin",
        )


def _refuse_node(state: State, name: str) -> None:
    if any(p.kind == "node" and p.name == name for p in state.principals.values()):
        raise Forbidden(
            f"{name!r} is a node, whose key belongs to its machine",
            hint="hivemind drain moves everything away from a node; name a person otherwise",
        )


def _person(state: State, name: str) -> Principal | None:
    return next((p for p in state.principals.values() if p.kind != "node" and p.name == name), None)


def _fresh(state: State, new: Principal) -> Principal:
    return replace(new, created=state.time, updated=state.time, since=state.sequence)


def _put(state: State, new: Principal) -> Outcome:
    state.tables.put(state.principals, new.id, new)
    return Outcome(id=new.id, version=new.version)
