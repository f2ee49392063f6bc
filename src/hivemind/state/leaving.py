"""How nodes go: by a wish, for which everything moves away first; for ever, because they lied or a person says so.

A node that leaves stays in the hive until others decide in its place and nothing of it lives any more."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from hivemind.errors import Conflict, Forbidden, NotFound
from hivemind.model.hive import Epoch, Expulsion, Hive
from hivemind.model.node import Node
from hivemind.model.principal import Principal, Role
from hivemind.protocols.autobee.entry import Notary
from hivemind.protocols.autobee.evidence import convicted
from hivemind.protocols.pbft.evidence import proven
from hivemind.protocols.pbft.wire import Evidence
from hivemind.security.identity import verify
from hivemind.state import losing, tokens, voters
from hivemind.state.draining import remaining
from hivemind.state.jobs import ending, notices
from hivemind.state.operations import ExpelNode, LeaveHive, ReportEvidence
from hivemind.state.state import Outcome, State
from hivemind.state.storage import storage_class
from hivemind.state.tokens import hive_of


def leave(state: State, operation: LeaveHive, who: Principal) -> Outcome:
    hive = hive_of(state)
    node = find(state, operation.node)
    if who.kind == "node" and who.id != node.id:
        raise Forbidden(
            "a node leaves only by itself", hint="an administrator lets others go: hivemind node rm"
        )
    _check_voters(state, hive, node)
    _keep_an_administrator(state, node)
    if not operation.force:
        _keep_volumes(state, node)
    if not node.leaving:
        node = replace(
            node, leaving=state.time, schedulable=False, drained=True, ready=0, updated=state.time,
            version=node.version + 1,
        )  # fmt: skip
        state.tables.put(state.nodes, node.id, node)
        state.dirty |= {a.app for a in state.allocations_on(node.id) if a.app}
        ending.leave(state, node.id)
        notices.reassign(state)
    if operation.force:
        losing.take_away(state, node.id, f"node {node.name} left")
    return Outcome(id=node.id, version=node.version)


def expel(state: State, operation: ExpelNode, who: Principal) -> Outcome:
    hive = hive_of(state)
    node = find(state, operation.node)
    _check_voters(state, hive, node)
    _keep_an_administrator(state, node)
    banish(state, node, operation.reason or f"{who.name} said so", by=who.name)
    return Outcome(id=node.id)


def convict(state: State, operation: ReportEvidence, who: Principal) -> Outcome:
    """Whoever reports it: the proof speaks for itself, be it of agreement or of the shared store. Reported again, it
    changes nothing."""
    hive = hive_of(state)
    if operation.node in state.expulsions:
        return Outcome(id=operation.node)
    node = state.nodes.get(operation.node)
    if node is None:
        raise NotFound(f"there is no node {operation.node[:12]!r}", hint="hivemind node ls shows them")
    lie = _lie(state, hive, node, operation.proof)
    if not lie:
        raise Forbidden(f"this proves nothing about node {node.name!r}")
    banish(state, node, lie, proof=operation.proof, by=who.name)
    return Outcome(id=node.id)


def _lie(state: State, hive: Hive, node: Node, proof: bytes) -> str:
    """What this proves of the node, in words."""
    if proven(proof, hive.domain, verify, _epoch_of(state, proof)) == node.id:
        return "it contradicted itself"
    if convicted(proof, Notary(hive.id, verify)) == node.id:
        return "it signed two different logs"
    return ""


def _epoch_of(state: State, proof: bytes) -> Epoch | None:
    """In which it says that something was said: some lies are such only for the voters of that one."""
    try:
        number = msgspec.msgpack.decode(proof, type=Evidence).epoch
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    term = state.terms.get(voters.term_key(number)) if number >= 0 else None
    return term.epoch if term else None


def banish(state: State, node: Node, reason: str, *, by: str, proof: bytes = b"") -> None:
    """At once, and for ever: its key means nothing any more, nor do the tokens that it has. Its seat, if it has one, is
    another's from the next epoch on."""
    _void_tokens(state, node)
    expulsion = Expulsion(id=node.id, name=node.name, reason=reason, proof=proof, time=state.time, by=by)
    state.tables.put(state.expulsions, node.id, expulsion)
    losing.take_away(state, node.id, f"node {node.name} was expelled")
    _remove(state, node)


def forsake(state: State, node: Node) -> None:
    """The hive goes on without it, as a new lineage, which it may join like any other."""
    losing.take_away(state, node.id, f"node {node.name} was left behind")
    _remove(state, node)


def finish(state: State) -> None:
    """Those that leave, and can go now."""
    hive = state.hive_record
    if hive is None:
        return
    for id in sorted(state.about.leaving):
        seated = id in hive.epoch.voters or (hive.next is not None and id in hive.next.voters)
        if not seated and not remaining(state, id):
            _remove(state, state.nodes[id])


def find(state: State, name: str) -> Node:
    """By name or id."""
    id = state.about.named(name) or name
    if id not in state.nodes:
        raise NotFound(f"there is no node {name!r}", hint="hivemind node ls shows them")
    return state.nodes[id]


# -- what speaks against it ----------------------------------------------------------------------------------


def _check_voters(state: State, hive: Hive, node: Node) -> None:
    if len(state.nodes) == 1:
        raise Conflict(
            f"{node.name!r} is the only node of the hive {hive.name!r}", hint="there is nothing to leave"
        )
    seated = {*hive.epoch.voters, *(hive.next.voters if hive.next else ())}
    if node.id not in seated:
        return
    left = voters.without(state, hive, node.id)
    if not left:
        raise Conflict(
            f"{node.name!r} is the last voter, and no other node is ready to decide",
            hint="let a member join first, and wait until it votes: hivemind cluster status",
        )
    if hive.require_bft and left < voters.FEWEST <= len(seated):
        raise Conflict(
            f"without {node.name!r} there would be {left} voters, too few for one that lies",
            hint="let another member join first, or: hivemind cluster configure --require-bft=false",
        )


def _keep_an_administrator(state: State, node: Node) -> None:
    goes = state.principals.get(node.administrator)
    if goes is None or goes.role is not Role.ADMIN:
        return
    if not _others_administer(state, goes.id):
        raise Conflict(
            f"with {node.name!r} goes {goes.name!r}, the last administrator of the hive",
            hint="make another one first: hivemind token create --name NAME --role admin",
        )


def _others_administer(state: State, id: str) -> bool:
    """A hive without anybody who administers it could not be helped: the last one stays, whatever its node did."""
    return any(p.role is Role.ADMIN and p.id != id for p in state.principals.values())


def _keep_volumes(state: State, node: Node) -> None:
    """What is nowhere else would be gone."""
    only = [
        f"{volume.project}/{volume.name}"
        for volume in state.volumes.values()
        if volume.node == node.id and not storage_class(state, volume.storage_class).shared
    ]
    if only:
        more = f" and {len(only) - 5} more" if len(only) > 5 else ""
        raise Conflict(
            f"{', '.join(only[:5])}{more} {'is a volume' if len(only) == 1 else 'are volumes'} of the hive that"
            f" {'is' if len(only) == 1 else 'are'} on {node.name!r} only",
            hint="move them (back them up, remove them, restore them elsewhere), or go without them: --force",
        )


def _remove(state: State, node: Node) -> None:
    from hivemind.state.membership import raise_protocol

    losing.forget_accusations(state, node.id, by=True)
    state.tables.remove(state.nodes, node.id)
    state.deadlines.pop(("node", node.id))
    _forget_principal(state, node.id)
    if _others_administer(state, node.administrator):
        _forget_principal(state, node.administrator)
    for id in [id for id, left in state.discarded.items() if left.node == node.id]:
        state.tables.remove(state.discarded, id)
    notices.reassign(state)
    state.dirty |= {state.allocations[id].app for id in state.pending}
    raise_protocol(state)


def _void_tokens(state: State, node: Node) -> None:
    """That with which it came, if more may come with it, and those that the administrator made who goes with it:
    whoever is expelled makes itself another key in a moment."""
    goes = state.principals.get(node.administrator) if _others_administer(state, node.administrator) else None
    for id, token in list(state.join_tokens.items()):
        if id == node.token or (goes is not None and token.by == goes.name):
            tokens.void(state, id)


def _forget_principal(state: State, id: str) -> None:
    if id in state.principals:
        state.tables.remove(state.principals, id)
        for key in state.replies_of(id):
            state.tables.remove(state.replies, key)
