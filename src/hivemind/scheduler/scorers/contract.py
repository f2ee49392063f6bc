"""What a scorer is: an opinion, from 0 to 1, on how good a node would be for an ask."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal

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
    """Beside the node, a scorer may look at what its kind allows, so that asks can share its work:

    - `general`: the load and the fields of the ask that it `reads`;
    - `favour`: those fields alone. It scores 0 but on the nodes that `exceptions` names;
    - `region`: those fields alone. It scores 1 on the nodes that `exceptions` names and 0 on all others. They are too
      many to be ranked anew for each kind of ask;
    - `particular`: anything, but it scores the `usual` but on the nodes that `exceptions` names, and placing an
      ask changes its score on the chosen node only."""

    name: str
    kind: Literal["general", "favour", "region", "particular"]
    weight: float
    score: Score
    concerns: Callable[[Ask, Hints], bool]
    reads: tuple[str, ...] = ()
    watches_load: bool = True
    """False: nothing that placing changes is looked at, and the score is computed once."""
    usual: float = 0.0
    exceptions: Callable[[Ask, Hints, Holders], Collection[str]] = lambda ask, hints, holders: ()

    def points(self, score: float) -> int:
        return round(self.weight * score * STEP)
