"""What `cluster status` shows: what was agreed about the nodes, what membership sees, how agreement goes."""

from __future__ import annotations

from collections.abc import Callable

from hivemind.api.documents import seconds_left
from hivemind.ledger.contract import LedgerStatus
from hivemind.model.cluster import ClusterMember, ClusterStatus, Reach
from hivemind.model.hive import PROTOCOL
from hivemind.model.node import Node, NodeStatus
from hivemind.protocols.pbft.quorum import faulty, quorum
from hivemind.state.state import State
from hivemind.store.contract import Store
from hivemind.store.said import said


def overview(
    *,
    state: State,
    store: Store,
    node: str,
    node_name: str,
    status: LedgerStatus,
    reach: Callable[[str], Reach],
    address: str,
    step: str,
    problems: tuple[str, ...],
) -> ClusterStatus:
    hive = state.hives.get(state.hive)
    mine = state.nodes.get(node)
    deciding = hive.epoch.voters if hive else ()
    expelled = [f"{e.name}: {e.reason}" for e in state.expulsions.values()]
    members = [
        _member(state, store, each, deciding, status, "self" if each.id == node else reach(each.id))
        for each in state.nodes.values()
    ]
    common = ClusterStatus(
        hive=state.hive,
        node=node,
        node_name=node_name,
        role=mine.role if mine else "member",
        engine=status.engine,
        ledger=status.role,
        epoch=hive.epoch.number if hive else 0,
        view=status.view,
        primary=status.primary,
        sequence=status.sequence,
        agreed=status.agreed,
        checkpoint=status.checkpoint,
        can_decide=status.can_decide,
        why_not=status.why_not,
        address=address,
        own_protocol=PROTOCOL,
        step=step,
        members=tuple(sorted(members, key=lambda member: member.name)),
        evidence=tuple(dict.fromkeys((*expelled, *status.evidence))),
        problems=problems,
    )
    if hive is None:
        return common
    from msgspec.structs import replace

    return replace(
        common,
        name=hive.name,
        lineage=hive.lineage,
        next_epoch=hive.next.number if hive.next else 0,
        max_voters=hive.max_voters,
        require_bft=hive.require_bft,
        rotation=hive.rotation / 1000,
        rebalance=hive.rebalance,
        faults=faulty(len(deciding)),
        crashes=len(deciding) - quorum(len(deciding)),
        protocol=hive.protocol,
    )


def _member(
    state: State, store: Store, node: Node, deciding: tuple[str, ...], status: LedgerStatus, reach: Reach
) -> ClusterMember:
    told = said(store.get(f"node/{node.id}"), NodeStatus, node.id) or NodeStatus()
    return ClusterMember(
        id=node.id,
        name=node.name,
        role=node.role,
        reach=reach,
        agreed=agreed_of(node),
        voter=node.id in deciding,
        primary=node.id == status.primary,
        addresses=node.addresses,
        heard=status.heard.get(node.id, 0),
        version=told.version,
        protocol=node.protocol,
        joined=node.joined,
        restarting=seconds_left(node.restarting),
        allocations=sum(1 for a in state.allocations_on(node.id) if a.live),
    )


def agreed_of(node: Node) -> str:
    """In a word."""
    if node.lost:
        return "lost"
    if node.leaving:
        return "leaving"
    if node.expected:
        return "joining"
    if node.restarting:
        return "restarting"
    return "drained" if node.drained else "ready" if node.schedulable else "cordoned"
