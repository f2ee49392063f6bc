"""Packing: fill nodes one after the other, so that whole nodes stay free."""

from __future__ import annotations

from hivemind.model.node import Node
from hivemind.scheduler.contract import Ask, Hints
from hivemind.scheduler.load import Load
from hivemind.scheduler.scorers.contract import Scorer
from hivemind.scheduler.scorers.fullness import crowd, fullness


def score(node: Node, load: Load, ask: Ask, hints: Hints) -> float:
    cpus, memory = fullness(node, load, ask)
    return 0.75 * (cpus + memory) / 2 + 0.25 * crowd(load)


SCORER = Scorer(
    "binpack",
    "general",
    4.0,
    score,
    concerns=lambda ask, hints: ask.placement == "binpack",
    reads=("cpus", "memory"),
)
