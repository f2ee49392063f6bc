"""Nearness: what depends on others runs near them. A way of 10 ms halves the score.

Where nodes stand is agreed: coordinates that they reported (Vivaldi: the distance is the way there and back). Of a node
without any only its zone counts."""

from __future__ import annotations

from math import isqrt

from hivemind.model.node import ZONE, Node
from hivemind.scheduler.contract import Ask, Hints, Spot
from hivemind.scheduler.load import Load
from hivemind.scheduler.scorers.contract import Scorer

HALF = 10_000
"""Microseconds."""
SAME_ZONE = 2_000
"""Microseconds that are believed between nodes of one zone of which one has no coordinates."""


def spot(node: Node) -> Spot:
    return Spot(node.id, node.labels.get(ZONE, ""), node.position, node.height)


def distance(one: Spot, other: Spot) -> int | None:
    """Microseconds; None when nothing is known. Whole numbers, so that everyone finds the same."""
    if one.node == other.node:
        return 0
    if one.position and len(one.position) == len(other.position):
        square = sum((a - b) ** 2 for a, b in zip(one.position, other.position, strict=True))
        return isqrt(square) + one.height + other.height
    return SAME_ZONE if one.zone and one.zone == other.zone else None


def score(node: Node, load: Load, ask: Ask, hints: Hints) -> float:
    """Of the nearest of those that it depends on; 0 where no way to any is known."""
    here = spot(node)
    ways = [way for there in ask.near if (way := distance(here, there)) is not None]
    return HALF / (HALF + min(ways)) if ways else 0.0


SCORER = Scorer(
    "near",
    "general",
    1.5,
    score,
    concerns=lambda ask, hints: bool(ask.near),
    reads=("near",),
    watches_load=False,
)
