"""Image locality: a node that already holds the image starts it sooner."""

from __future__ import annotations

from collections.abc import Collection

from hivemind.model.node import Node
from hivemind.scheduler.contract import Ask, Hints
from hivemind.scheduler.load import Load
from hivemind.scheduler.scorers.contract import Holders, Scorer

_NONE: frozenset[str] = frozenset()


def score(node: Node, load: Load, ask: Ask, hints: Hints) -> float:
    return 1.0 if node.id in hints.images.get(ask.image, _NONE) else 0.0


def _holders(ask: Ask, hints: Hints, holders: Holders) -> Collection[str]:
    return hints.images.get(ask.image, _NONE)


SCORER = Scorer(
    "image",
    "favour",
    0.5,
    score,
    concerns=lambda ask, hints: ask.image in hints.images,
    reads=("image",),
    exceptions=_holders,
)
