"""Zones: replicas of one app go where fewest of them are, so that what fails with a zone is not all of them.

The asks of an app are told which zone is due (`Ask.zone`), one after the other: see `state.zones`. It weighs less than
that replicas are on different nodes: a zone with few nodes is not crowded for the sake of evenness."""

from __future__ import annotations

from collections.abc import Collection

from hivemind.model.node import ZONE, Node
from hivemind.scheduler.contract import Ask, Hints
from hivemind.scheduler.load import Load
from hivemind.scheduler.scorers.contract import Holders, Scorer


def score(node: Node, load: Load, ask: Ask, hints: Hints) -> float:
    return 1.0 if node.labels.get(ZONE) == ask.zone else 0.0


def _there(ask: Ask, hints: Hints, holders: Holders) -> Collection[str]:
    return hints.zones.get(ask.zone, frozenset())


SCORER = Scorer(
    "zone",
    "region",
    2.75,
    score,
    concerns=lambda ask, hints: ask.zone in hints.zones,
    reads=("zone",),
    exceptions=_there,
)
