"""How a hive begins and who comes in: founding, configuring, joining, getting ready to decide."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from hivemind.errors import Conflict, Forbidden, Invalid, NotFound, Unsupported
from hivemind.model.hive import Epoch, Hive, Term
from hivemind.model.node import Node
from hivemind.model.principal import Principal, Role
from hivemind.protocols.pbft import limits
from hivemind.security.identity import verify
from hivemind.security.joining import joining
from hivemind.state import tokens, voters
from hivemind.state.operations import (
    ConfigureHive,
    FoundHive,
    JoinHive,
    ReadyToVote,
    ReportCoordinates,
)
from hivemind.state.projects import check_version
from hivemind.state.state import Outcome, State

MOST_VOTERS: Final = limits.VOTERS
SHORTEST_TERM: Final = 60_000
"""Milliseconds."""
_DIMENSIONS = 8
_FARTHEST = 60_000_000
"""Microseconds."""


def found(state: State, operation: FoundHive, who: Principal) -> Outcome:
    """Repeating it changes nothing."""
    old = state.hive_record
    if old is not None:
        if old.name == operation.name and operation.node in state.nodes:
            return Outcome(id=old.id, version=old.version)
        raise Conflict(f"this node belongs to the hive {old.name!r} already", hint="hivemind cluster status")
    if list(state.nodes) != [operation.node]:
        raise Conflict("a hive is founded by the one node that there is, once that is registered")
    if operation.engine == "local":
        raise Invalid("the log of one node agrees on nothing with others", hint="choose pbft, or etcd")
    _check(operation.max_voters, operation.require_bft, operation.rotation)
    founder = state.nodes[operation.node]
    epoch = Epoch(number=0, since=state.sequence, voters=(founder.id,))
    hive = Hive(
        id=state.hive,
        name=operation.name,
        engine=operation.engine,
        max_voters=operation.max_voters,
        require_bft=operation.require_bft,
        rotation=operation.rotation,
        rebalance=operation.rebalance,
        epoch=epoch,
        since=state.time,
        protocol=founder.protocol,
        created=state.time,
    )
    state.tables.put(state.hives, hive.id, hive)
    voters.remember(state, Term(epoch=epoch, time=state.time, reason=f"{founder.name} founded the hive"))
    administrator = who.id if who.kind != "node" else ""
    seated = replace(founder, ready=state.time, served=state.time, administrator=administrator)
    state.tables.put(state.nodes, founder.id, seated)
    return Outcome(id=hive.id, version=hive.version)


def configure(state: State, operation: ConfigureHive, who: Principal) -> Outcome:
    old = tokens.hive_of(state)
    check_version(operation.if_version, old.version)
    new = replace(
        old,
        name=old.name if operation.name is None else operation.name,
        max_voters=old.max_voters if operation.max_voters is None else operation.max_voters,
        require_bft=old.require_bft if operation.require_bft is None else operation.require_bft,
        rotation=old.rotation if operation.rotation is None else operation.rotation,
        rebalance=old.rebalance if operation.rebalance is None else operation.rebalance,
    )
    _check(new.max_voters, new.require_bft, new.rotation)
    deciding = len((old.next or old.epoch).voters)
    if new.require_bft and not old.require_bft and 1 < deciding < voters.FEWEST:
        raise Conflict(
            f"{deciding} voters cannot stand one that lies, which takes {voters.FEWEST}",
            hint="let more members join first",
        )
    if new != old:
        new = replace(new, version=old.version + 1)
        state.tables.put(state.hives, new.id, new)
    return Outcome(id=new.id, version=new.version)


def _check(max_voters: int, require_bft: bool, rotation: int) -> None:
    if not 1 <= max_voters <= MOST_VOTERS:
        raise Invalid(f"{max_voters} voters are not possible", hint=f"choose 1 to {MOST_VOTERS}")
    if require_bft and max_voters < voters.FEWEST:
        raise Invalid(
            f"with at most {max_voters} voters none of them may lie",
            hint=f"allow {voters.FEWEST} at least, or do not require it",
        )
    if rotation and rotation < SHORTEST_TERM:
        raise Invalid("voters serve a minute at least", hint="say for how long: --rotation 1d; 0 is for ever")


# -- joining -------------------------------------------------------------------------------------------------


def join(state: State, operation: JoinHive, who: Principal) -> Outcome:
    """Who asks again, because it never heard the answer, is told that it is in."""
    hive = tokens.hive_of(state)
    if operation.node in state.expulsions:
        raise Forbidden(
            "the node with this key was expelled from the hive",
            hint="it can only come back as another: with a data directory of its own, and a new key",
        )
    signed = joining(hive.id, operation.node, operation.administrator)
    if not verify(operation.token, signed, operation.proof):
        raise Forbidden("the proof that a token lets this node in is not good", hint="copy the whole token")
    if not verify(operation.node, signed, operation.consent):
        raise Forbidden("this node has not signed that it wants to join")
    _understands(hive, operation.protocol)
    old = state.nodes.get(operation.node)
    if old is not None:
        return _again(old, operation)
    _check_names(state, operation)
    tokens.use(state, operation.token, operation.role)
    let_in = Node(
        id=operation.node,
        name=operation.name,
        role=operation.role,
        protocol=operation.protocol,
        token=operation.token,
        administrator=_let_in_administrator(state, operation),
        expected=True,
        joined=state.time,
        updated=state.time,
    )
    state.tables.put(state.nodes, let_in.id, let_in)
    principal = Principal(
        id=let_in.id, name=let_in.name, kind="node",
        created=state.time, updated=state.time, since=state.sequence,
    )  # fmt: skip
    state.tables.put(state.principals, let_in.id, principal)
    return Outcome(id=let_in.id, version=let_in.version)


def _understands(hive: Hive, protocol: int) -> None:
    if protocol < hive.protocol:
        raise Unsupported(
            f"this node speaks version {protocol} of what nodes say to each other,"
            f" and the hive {hive.name!r} speaks {hive.protocol}",
            hint="install the Hivemind that the hive runs (hivemind --version there) and try again",
        )


def _again(old: Node, operation: JoinHive) -> Outcome:
    if (old.name, old.role) != (operation.name, operation.role) or old.leaving:
        raise Conflict(
            f"this node is in the hive already, as the {old.role} {old.name!r}"
            + (", and is leaving it" if old.leaving else ""),
            hint="wait until it has left" if old.leaving else "join under that name and in that role",
        )
    return Outcome(id=old.id, version=old.version)


def _check_names(state: State, operation: JoinHive) -> None:
    named = state.about.named(operation.name)
    taken = named or any(p.name == operation.name for p in state.principals.values())
    if taken:
        whose = "another node" if named else "a person"
        raise Conflict(
            f"the name {operation.name!r} belongs to {whose} of the hive",
            hint="choose another: hivemind cluster join TOKEN --node-name OTHER",
        )
    holder = state.principals.get(operation.node)
    if holder is not None:
        raise Conflict(
            f"this node's key belongs to {holder.name!r} already", hint="each has a key of its own"
        )
    administrator = state.principals.get(operation.administrator)
    if operation.administrator == operation.node or (administrator and administrator.kind == "node"):
        raise Invalid("the administrator's key is a node's", hint="a person has a key of its own")


def _let_in_administrator(state: State, operation: JoinHive) -> str:
    """Root on a member administers the hive there: whoever can decide with that machine's key could do all of it
    anyway. Returns the key, if it came with this node; empty if not."""
    if operation.role != "member" or operation.administrator in state.principals:
        return ""
    wished = f"admin-{operation.name}"[:63].rstrip("-")
    taken = {p.name for p in state.principals.values()}
    name = wished if wished not in taken else f"admin-{operation.node[:16]}"
    person = Principal(
        id=operation.administrator, name=name, kind="person", role=Role.ADMIN,
        created=state.time, updated=state.time, since=state.sequence,
    )  # fmt: skip
    state.tables.put(state.principals, person.id, person)
    return person.id


# -- what nodes say about themselves -------------------------------------------------------------------------


def ready(state: State, operation: ReadyToVote, who: Principal) -> Outcome:
    tokens.hive_of(state)
    if who.id != operation.node:
        raise Forbidden("a node is ready only for itself")
    old = state.nodes.get(operation.node)
    if old is None:
        raise NotFound("this node is not registered", hint="it registers when its daemon starts")
    if old.role == "worker":
        raise Forbidden("a worker does not decide", hint="let it join with a member's token")
    if old.away or old.leaving:
        raise Conflict(f"node {old.name!r} is not there", hint="it registers first")
    if not old.ready:
        state.tables.put(state.nodes, old.id, replace(old, ready=state.time))
    return Outcome(id=old.id, version=old.version)


def locate(state: State, operation: ReportCoordinates, who: Principal) -> Outcome:
    if who.id != operation.node:
        raise Forbidden("a node reports only where it stands itself")
    if who.id not in state.nodes:
        raise NotFound("this node is not registered", hint="it registers when its daemon starts")
    values = (*operation.position, operation.height)
    if len(operation.position) > _DIMENSIONS or any(abs(value) > _FARTHEST for value in values):
        raise Invalid("these are no coordinates", hint=f"at most {_DIMENSIONS}, within a minute")
    old = state.nodes[who.id]
    new = replace(old, position=operation.position, height=max(operation.height, 0))
    state.tables.put(state.nodes, old.id, new)
    return Outcome(id=old.id, version=old.version)


def check_protocol(state: State, protocol: int) -> None:
    """Raises `Unsupported` for a node that understands less than the hive speaks."""
    if state.hive_record is not None:
        _understands(state.hive_record, protocol)


def raise_protocol(state: State) -> None:
    """What all nodes understand is spoken from now on. It never falls."""
    hive = state.hive_record
    if hive is None or not len(state.nodes):
        return
    common = min(node.protocol for node in state.nodes.values())
    if common > hive.protocol:
        state.tables.put(state.hives, hive.id, replace(hive, protocol=common))
