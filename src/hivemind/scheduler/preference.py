"""Preferences: how one kind of ask sees the few nodes on which it is not of everyone's opinion.

Most nodes score the usual for the particular scorers: they hold no replica of the app and not its image. For
them the pool's ranking is right. The exceptions are ranked here, by their full points.
"""

from __future__ import annotations

from hivemind.scheduler.cluster import Cluster
from hivemind.scheduler.contract import Ask
from hivemind.scheduler.pool import Pool
from hivemind.scheduler.ranking import Ranking
from hivemind.scheduler.scorers import Scorer


class Preference:
    """Lives while asks of one kind (same app, image and requirements) are placed one after the other."""

    def __init__(self, cluster: Cluster, pool: Pool, ask: Ask, particular: list[Scorer]) -> None:
        self._cluster = cluster
        self._pool = pool
        self._ask = ask
        self._particular = particular
        self._usual = sum(s.points(s.usual) for s in particular)
        self._exceptions = {
            cluster.position[node]
            for s in particular
            if s.exceptions is not None
            for node in s.exceptions(ask, cluster.hints, cluster.holders)
            if node in cluster.position
        }
        judged = ((position, self._judge(position)) for position in sorted(self._exceptions))
        self._ranking = Ranking((position, points) for position, points in judged if points is not None)

    def _judge(self, position: int) -> int | None:
        points = self._pool.ranking.get(position)
        if points is None:
            return None
        node, load = self._cluster.nodes[position], self._cluster.loads[position]
        for s in self._particular:
            points += s.points(s.score(node, load, self._ask, self._cluster.hints))
        return points

    def placed(self, position: int) -> None:
        """One of these asks went to the node at `position`; the pool knows already."""
        self._exceptions.add(position)
        self._ranking.set(position, self._judge(position))

    def choose(self, ask: Ask) -> int | None:
        """The position of the best node for `ask`; one that it avoids only when there is no other."""
        start = self._cluster.start(ask.id)
        avoided = {self._cluster.position[node] for node in ask.avoid if node in self._cluster.position}
        best = self._best(start, avoided)
        if best is None and avoided:
            best = self._best(start, frozenset(range(len(self._cluster.nodes))) - avoided)
        return best

    def _best(self, start: int, skip: set[int] | frozenset[int]) -> int | None:
        exception = self._ranking.best(start, skip)
        floor = exception[0] - self._usual if exception else None
        common = self._pool.ranking.best(start, self._exceptions | skip if skip else self._exceptions, floor)
        if common is None or exception is None:
            return (common or exception or (0, None))[1]
        usual = common[0] + self._usual
        if usual != exception[0]:
            return common[1] if usual > exception[0] else exception[1]
        size = len(self._cluster.nodes)
        return min(common[1], exception[1], key=lambda position: (position - start) % size)
