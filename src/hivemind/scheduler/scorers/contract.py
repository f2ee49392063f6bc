"""What a scorer is: an opinion, from 0 to 1, on how good a node would be for an ask."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from hivemind.model.node import Node
from hivemind.scheduler.contract import Ask, Hints
from hivemind.scheduler.load import Load

Score = Callable[[Node, Load, Ask, Hints], float]
Holders = Mapping[str, Collection[str]]
"""App -> ids of the nodes that hold replicas of it."""

STEP = 1_000_000
"""Points are whole millionths of the weighted score: exact sums, and no choice hangs on rounding."""


@dataclass(frozen=True)
class Scorer:
    """A *general* scorer depends, beside the node and its load, only on the fields that it `reads`; asks that
    agree in them share one ranking of the nodes.

    A *particular* scorer may look at anything of the ask, but must name in `exceptions` all nodes on which
    its score differs from `usual`. Placing one ask may change its score on the chosen node only."""

    name: str
    weight: float
    score: Score
    concerns: Callable[[Ask, Hints], bool]
    reads: tuple[str, ...] = ()
    watches_load: bool = True
    """False: nothing that placing changes is looked at, and the score is computed once."""
    usual: float = 0.0
    exceptions: Callable[[Ask, Hints, Holders], Collection[str]] | None = None

    def points(self, score: float) -> int:
        return round(self.weight * score * STEP)
