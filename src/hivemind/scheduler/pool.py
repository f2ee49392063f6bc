"""Pools: the nodes that fit one set of requirements, ranked by how good they are for anyone who has them.

All asks with the same requirements share a pool. It is made once, and afterwards looks again only at nodes
whose load changed. Verdicts of filters that do not watch the load are shared between pools as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hivemind.scheduler.cluster import Cluster
from hivemind.scheduler.contract import Ask
from hivemind.scheduler.filters import Filter, Reason
from hivemind.scheduler.ranking import Ranking
from hivemind.scheduler.scorers import Scorer

Key = tuple[Any, ...]


class Pool:
    def __init__(
        self, cluster: Cluster, ask: Ask, refused: list[bool], filters: list[Filter], scorers: list[Scorer]
    ) -> None:
        """`ask` stands for all that have its requirements; `refused` are the verdicts that stay."""
        self._cluster = cluster
        self._ask = ask
        self._refused = refused
        self._checks = [f.check for f in filters if f.watches_load]
        self._moving = [s for s in scorers if s.watches_load]
        fixed = [s for s in scorers if not s.watches_load]
        self._fixed = [0] * len(refused)
        for scorer in fixed:
            for position, (node, load) in enumerate(zip(cluster.nodes, cluster.loads, strict=True)):
                self._fixed[position] += scorer.points(scorer.score(node, load, ask, cluster.hints))
        points = ((position, self._judge(position)) for position in range(len(refused)))
        self.ranking = Ranking((position, p) for position, p in points if p is not None)
        self._read = len(cluster.changes)

    def _judge(self, position: int) -> int | None:
        """Points of a node, None when it does not fit."""
        if self._refused[position]:
            return None
        cluster, ask = self._cluster, self._ask
        node, load = cluster.nodes[position], cluster.loads[position]
        for check in self._checks:
            if check(node, load, ask) is not None:
                return None
        points = self._fixed[position]
        for scorer in self._moving:
            points += scorer.points(scorer.score(node, load, ask, cluster.hints))
        return points

    def refresh(self) -> None:
        """Looks again at what changed since the last time."""
        changes = self._cluster.changes
        if self._read == len(changes):
            return
        for position in sorted(set(changes[self._read :])):
            self.ranking.set(position, self._judge(position))
        self._read = len(changes)


class Favoured:
    """The nodes of a pool that some asks favour over the others: ranked with what they earn by that."""

    def __init__(self, cluster: Cluster, pool: Pool, ask: Ask, scorers: list[Scorer]) -> None:
        self._cluster = cluster
        self._pool = pool
        hints = cluster.hints
        positions = {
            cluster.position[id]
            for s in scorers
            for id in s.exceptions(ask, hints, cluster.holders)
            if id in cluster.position
        }
        self.bonus = {
            position: sum(
                s.points(s.score(cluster.nodes[position], cluster.loads[position], ask, hints))
                for s in scorers
            )
            for position in sorted(positions)
        }
        points = ((position, pool.ranking.get(position)) for position in self.bonus)
        self.ranking = Ranking(
            (position, p + self.bonus[position]) for position, p in points if p is not None
        )
        self._read = len(cluster.changes)

    def refresh(self) -> None:
        """Looks again at what changed since the last time; the pool has to be up to date."""
        changes = self._cluster.changes
        for position in sorted(self.bonus.keys() & set(changes[self._read :])):
            points = self._pool.ranking.get(position)
            self.ranking.set(position, None if points is None else points + self.bonus[position])
        self._read = len(changes)


class Pools:
    """The pools of one round, and the verdicts that they share."""

    def __init__(
        self, cluster: Cluster, filters: Mapping[str, Filter], scorers: Mapping[str, Scorer]
    ) -> None:
        self._cluster = cluster
        self._filters = tuple(f for f in filters.values() if f.suspects is None)
        self._general = tuple(s for s in scorers.values() if s.kind == "general")
        self._favour = tuple(s for s in scorers.values() if s.kind == "favour")
        self._pools: dict[Key, Pool] = {}
        self._favoured: dict[tuple[Key, Key], Favoured] = {}
        self._verdicts: dict[Key, list[Reason | None]] = {}

    def key(self, ask: Ask) -> Key:
        """Asks with equal keys are alike to every filter without suspects and to every general scorer."""
        filters = (
            (f.name, *(getattr(ask, field) for field in f.reads)) for f in self._filters if f.concerns(ask)
        )
        hints = self._cluster.hints
        scorers = (
            (s.name, *(getattr(ask, field) for field in s.reads))
            for s in self._general
            if s.concerns(ask, hints)
        )
        return (*filters, *scorers)

    def get(self, key: Key, ask: Ask) -> Pool:
        """The pool for the requirements of `ask`, up to date."""
        pool = self._pools.get(key)
        if pool is None:
            filters = [f for f in self._filters if f.concerns(ask)]
            scorers = [s for s in self._general if s.concerns(ask, self._cluster.hints)]
            lasting = [self._lasting(f, ask) for f in filters if not f.watches_load]
            refused = [any(reasons) for reasons in zip(*lasting, strict=True)] or [False] * len(
                self._cluster.nodes
            )
            pool = self._pools[key] = Pool(self._cluster, ask, refused, filters, scorers)
        pool.refresh()
        return pool

    def favoured(self, key: Key, pool: Pool, ask: Ask) -> Favoured:
        """The nodes of the pool that are favoured for asks like this one, up to date."""
        scorers = [s for s in self._favour if s.concerns(ask, self._cluster.hints)]
        why = tuple((s.name, *(getattr(ask, field) for field in s.reads)) for s in scorers)
        favoured = self._favoured.get((key, why))
        if favoured is None:
            favoured = self._favoured[key, why] = Favoured(self._cluster, pool, ask, scorers)
        favoured.refresh()
        return favoured

    def _lasting(self, f: Filter, ask: Ask) -> list[Reason | None]:
        """The verdict on each node of a filter that does not watch the load."""
        key = (f.name, *(getattr(ask, field) for field in f.reads))
        verdicts = self._verdicts.get(key)
        if verdicts is None:
            pairs = zip(self._cluster.nodes, self._cluster.loads, strict=True)
            verdicts = self._verdicts[key] = [f.check(node, load, ask) for node, load in pairs]
        return verdicts
