"""The scheduler: gives each ask the best node that fits it, or says why none does.

Asks are placed by priority, then the large before the small (which are easier to fit), then by app and id, so
the answer depends on nothing but the values that come in. What asks have in common is computed once: see
`pool` for requirements, `preference` for apps. The choice is exactly the one that comparing every node for
every ask would make; the property tests compare.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from hivemind.model.node import Node
from hivemind.scheduler.cluster import Cluster
from hivemind.scheduler.contract import Ask, Hints, Placement, Use
from hivemind.scheduler.explanation import explain, fitting, refusals
from hivemind.scheduler.filters import FILTERS
from hivemind.scheduler.pool import Key, Pools
from hivemind.scheduler.preference import Preference, Region
from hivemind.scheduler.scorers import SCORERS, Scorer


class _View(NamedTuple):
    """The nodes as one kind of ask sees them. `key`: of asks that are refused for the same reasons."""

    kind: tuple[object, ...]
    key: Key
    preference: Preference
    scorers: list[Scorer]


class Scheduler:
    """Keeps its rankings between calls of `place`; every placement counts at once for those that follow."""

    def __init__(
        self, nodes: Mapping[str, Node], uses: Mapping[str, Use], hints: Hints | None = None
    ) -> None:
        """A node without a use is empty."""
        self._cluster = Cluster(nodes, uses, hints or Hints())
        self._pools = Pools(self._cluster, FILTERS, SCORERS)
        self._refusals: dict[Key, tuple[int, str]] = {}
        self._regions: dict[Key, Region] = {}
        self._view: _View | None = None

    def place(self, asks: Iterable[Ask]) -> list[Placement]:
        """One placement for each ask, in the order in which they were decided. Never raises for an ask."""
        return [self._place(ask) for ask in sorted(asks, key=_turn)]

    def _place(self, ask: Ask) -> Placement:
        view = self._seen_by(ask)
        position = view.preference.choose(ask)
        if position is None:
            return Placement(ask=ask.id, explanation=self._why_not(view.key, ask))
        node, load = self._cluster.nodes[position], self._cluster.loads[position]
        scores = {s.name: s.score(node, load, ask, self._cluster.hints) for s in view.scorers}
        fit = view.preference.fit
        self._cluster.put(ask, position)
        view.preference.placed(position)
        return Placement(ask=ask.id, node=node.id, explanation=self._why(fit, node, ask), scores=scores)

    def _seen_by(self, ask: Ask) -> _View:
        """Kept while asks of one kind come one after the other, in whatever number of calls."""
        kind = _kind(ask)
        if self._view is None or self._view.kind != kind:
            key = self._pools.key(ask)
            pool = self._pools.get(key, ask)
            scorers = [s for s in SCORERS.values() if s.concerns(ask, self._cluster.hints)]
            particular = [s for s in scorers if s.kind == "particular"]
            favoured = self._pools.favoured(key, pool, ask)
            wary = [f for f in FILTERS.values() if f.suspects is not None and f.concerns(ask)]
            region = self._region(ask, [s for s in scorers if s.kind == "region"])
            preference = Preference(self._cluster, pool, favoured, ask, wary, particular, region)
            key = (key, *(getattr(ask, field) for f in wary for field in f.reads))
            self._view = _View(kind, key, preference, scorers)
        return self._view

    def _region(self, ask: Ask, scorers: list[Scorer]) -> Region:
        """Kept for all asks that read the same."""
        if not scorers:
            return Region()
        [scorer] = scorers
        key = tuple(getattr(ask, field) for field in scorer.reads)
        if key not in self._regions:
            cluster = self._cluster
            ids = scorer.exceptions(ask, cluster.hints, cluster.holders)
            there = frozenset(cluster.position[id] for id in ids if id in cluster.position)
            self._regions[key] = Region(there, scorer.points(1.0))
        return self._regions[key]

    def _why(self, fit: int, node: Node, ask: Ask) -> str:
        reason = fitting(fit, len(self._cluster.nodes))
        if node.id in ask.avoid:
            return f"{reason}; it failed here before, but no other node fits"
        return f"{reason}; it was lost often lately, but no other node fits" if node.held_until else reason

    def _why_not(self, key: Key, ask: Ask) -> str:
        """Kept for the next ask with the same requirements, until a load changes."""
        changes = len(self._cluster.changes)
        known = self._refusals.get(key)
        if known is None or known[0] != changes:
            known = changes, explain(refusals(self._cluster, FILTERS.values(), ask))
            self._refusals[key] = known
        return known[1]


def _turn(ask: Ask) -> tuple[object, ...]:
    """Asks of one kind stand together in this order."""
    return (-ask.priority, -ask.memory, -ask.cpus, *_kind(ask), ask.id)


def _kind(ask: Ask) -> tuple[object, ...]:
    """All that filters and scorers may look at: everything but id, priority and the nodes to avoid. No other stands
    beside an attempt of a task in its app, so that does not matter."""
    return (
        "" if ask.task else ask.app,
        ask.cpus,
        ask.memory,
        ask.image,
        ask.host_ports,
        ask.constraints,
        ask.runtime,
        ask.os,
        ask.arch,
        ask.placement,
        ask.task,
        ask.executor,
        ask.volumes,
        ask.zone,
        ask.near,
    )


def place(
    asks: Iterable[Ask], nodes: Mapping[str, Node], uses: Mapping[str, Use], hints: Hints | None = None
) -> list[Placement]:
    """Places all asks at once. Preparing costs time for every node, so ask for many in one call."""
    return Scheduler(nodes, uses, hints).place(asks)
