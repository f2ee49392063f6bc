"""Preferences: how one kind of ask sees the nodes.

Most nodes score the usual for the particular scorers, because they hold no replica of the app, and are beyond
suspicion, because nobody holds its ports there. For them the pool's ranking is right, and that of its favoured
nodes. The exceptions are ranked here, by their full points.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import NamedTuple

from hivemind.scheduler.cluster import Cluster
from hivemind.scheduler.contract import Ask
from hivemind.scheduler.filters import Filter
from hivemind.scheduler.pool import Favoured, Pool
from hivemind.scheduler.ranking import Ranking, Remainder
from hivemind.scheduler.scorers import Scorer


class Region(NamedTuple):
    """Nodes that all earn the same beside what else they earn."""

    positions: Set[int] = frozenset()
    bonus: int = 0


class Preference:
    """Lives while asks of one kind (same app, image and requirements) are placed one after the other."""

    def __init__(
        self,
        cluster: Cluster,
        pool: Pool,
        favoured: Favoured,
        ask: Ask,
        wary: Sequence[Filter],
        particular: Sequence[Scorer],
        region: Region,
    ) -> None:
        """`wary` are the filters with suspects, of both those that concern the ask."""
        self._cluster = cluster
        self._pool = pool
        self._favoured = favoured
        self._ask = ask
        self._wary = wary
        self._particular = particular
        self._region = region
        self._usual = sum(s.points(s.usual) for s in particular)
        self._exceptions = {
            cluster.position[id]
            for s in particular
            for id in s.exceptions(ask, cluster.hints, cluster.holders)
            if id in cluster.position
        }
        suspects = {
            cluster.position[id]
            for f in self._wary
            if f.suspects is not None
            for id in f.suspects(ask, cluster.publishers)
            if id in cluster.position
        }
        refused = [p for p in suspects if p in pool.ranking and self._refuses(p)]
        self._exceptions.update(suspects)
        self._refused = len(refused)
        judged = ((position, self._judge(position)) for position in sorted(self._exceptions))
        self._ranking = Ranking((position, points) for position, points in judged if points is not None)
        # A favoured node stands among the common ones too, with fewer points: there it never wins.
        # So does one of the region, which is looked for on its own, with its bonus.
        rankings = (favoured.ranking, pool.ranking)
        self._others = [(Remainder(r, self._exceptions), 0) for r in rankings]
        if region.positions:
            mine = [(Remainder(r, self._exceptions, region.positions), region.bonus) for r in rankings]
            self._others = mine + self._others

    @property
    def fit(self) -> int:
        """How many nodes fit now."""
        return len(self._pool.ranking) - self._refused

    def _refuses(self, position: int) -> bool:
        node, load = self._cluster.nodes[position], self._cluster.loads[position]
        return any(f.check(node, load, self._ask) is not None for f in self._wary)

    def _judge(self, position: int) -> int | None:
        points = self._pool.ranking.get(position)
        if points is None or self._refuses(position):
            return None
        node, load = self._cluster.nodes[position], self._cluster.loads[position]
        points += self._favoured.bonus.get(position, 0)
        if position in self._region.positions:
            points += self._region.bonus
        for s in self._particular:
            points += s.points(s.score(node, load, self._ask, self._cluster.hints))
        return points

    def placed(self, position: int) -> None:
        """One of these asks went to the node at `position`."""
        self._pool.refresh()
        self._favoured.refresh()
        self._exceptions.add(position)
        self._ranking.set(position, self._judge(position))

    def choose(self, ask: Ask) -> int | None:
        """The position of the best node for `ask`; one that it avoids, or that is held back, only when
        there is no other."""
        start = self._cluster.start(ask.id)
        avoided = self._cluster.held
        if ask.avoid:
            avoided |= {self._cluster.position[id] for id in ask.avoid if id in self._cluster.position}
        if not avoided:
            return self._best(start)
        best = self._best_without(start, avoided)
        if best is None:
            best = self._best_without(start, set(range(len(self._cluster.nodes))) - avoided)
        return best

    def _best(self, start: int) -> int | None:
        best = self._ranking.best(start)
        for others, bonus in self._others:
            found = others.best(start, best[0] - self._usual - bonus if best else None)
            best = self._better(start, best, found, bonus)
        return best[1] if best else None

    def _best_without(self, start: int, skip: Set[int]) -> int | None:
        """The same without the nodes in `skip`, which is rare and may take longer."""
        best = self._ranking.best(start, skip)
        elsewhere = set(range(len(self._cluster.nodes))) - self._region.positions
        for ranking in (self._favoured.ranking, self._pool.ranking):
            best = self._better(start, best, ranking.best(start, self._exceptions | skip))
            if self._region.positions:
                found = ranking.best(start, self._exceptions | skip | elsewhere)
                best = self._better(start, best, found, self._region.bonus)
        return best[1] if best else None

    def _better(
        self, start: int, best: tuple[int, int] | None, found: tuple[int, int] | None, bonus: int = 0
    ) -> tuple[int, int] | None:
        """Of the best so far, with its full points, and one that scores the usual and `bonus` beyond its points."""
        if found is None:
            return best
        other = found[0] + self._usual + bonus, found[1]
        if best is None or other[0] != best[0]:
            return other if best is None or other[0] > best[0] else best
        size = len(self._cluster.nodes)
        return min(best, other, key=lambda candidate: (candidate[1] - start) % size)
