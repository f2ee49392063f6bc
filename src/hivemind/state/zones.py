"""Zones and neighbours: which zone each new replica is due in, and whom it should be near."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from hivemind.model.allocation import Allocation
from hivemind.model.node import ZONE
from hivemind.scheduler.contract import Ask, Hints, Spot
from hivemind.scheduler.scorers.near import spot
from hivemind.state.state import State

_NEIGHBOURS: Final = 8
"""Nodes that count of those on which an app runs that another one depends on."""


def hints(state: State) -> Hints:
    """The zones with the nodes in each; none where there are fewer than two."""
    zones: dict[str, set[str]] = {}
    for id, node in state.nodes.items():
        zone = node.labels.get(ZONE)
        if zone and node.usable:
            zones.setdefault(zone, set()).add(id)
    if len(zones) < 2:
        return Hints()
    return Hints(zones={zone: frozenset(ids) for zone, ids in sorted(zones.items())})


def spread(state: State, asks: Sequence[Ask], found: Hints) -> list[Ask]:
    """Each ask of an app that spreads with the zone that has fewest of its replicas by then."""
    if not found.zones:
        return list(asks)
    counts: dict[str, dict[str, int]] = {}
    told = []
    for ask in asks:
        if ask.placement != "spread" or ask.task:
            told.append(ask)
            continue
        if ask.app not in counts:
            counts[ask.app] = _replicas(state, ask.app, found)
        mine = counts[ask.app]
        zone = min(mine, key=lambda zone: (mine[zone], zone))
        mine[zone] += 1
        told.append(replace(ask, zone=zone))
    return told


def _replicas(state: State, app: str, found: Hints) -> dict[str, int]:
    counts = dict.fromkeys(found.zones, 0)
    for allocation in state.allocations_of(app):
        node = state.nodes.get(allocation.node)
        zone = node.labels.get(ZONE, "") if node else ""
        if allocation.live and zone in counts:
            counts[zone] += 1
    return counts


def neighbours(state: State, allocation: Allocation, needed: Sequence[str]) -> tuple[Spot, ...]:
    """Where the apps of these names run."""
    nodes: set[str] = set()
    for name in needed:
        app = state.find_app(allocation.project, name)
        if app is not None:
            nodes |= {a.node for a in state.allocations_of(app.id) if a.live and a.node in state.nodes}
    return tuple(spot(state.nodes[id]) for id in sorted(nodes)[:_NEIGHBOURS])
