"""Spreading: replicas of one app go to different nodes, and work goes where most room is left."""

from __future__ import annotations

from collections.abc import Collection

from hivemind.model.node import Node
from hivemind.scheduler.contract import Ask, Hints
from hivemind.scheduler.load import Load
from hivemind.scheduler.scorers.contract import Holders, Scorer
from hivemind.scheduler.scorers.fullness import crowd, fullness


def _spreads(ask: Ask, hints: Hints) -> bool:
    return ask.placement != "binpack"


def _stands_apart(ask: Ask, hints: Hints) -> bool:
    """No node can hold another replica of an attempt of a task."""
    return _spreads(ask, hints) and not ask.task


def apart(node: Node, load: Load, ask: Ask, hints: Hints) -> float:
    """1 without a replica of the same app, 1/2 with one, 1/3 with two, …"""
    return 1 / (1 + load.apps.get(ask.app, 0))


def _holders(ask: Ask, hints: Hints, holders: Holders) -> Collection[str]:
    return holders.get(ask.app, ())


def room(node: Node, load: Load, ask: Ask, hints: Hints) -> float:
    """What is left of the scarcest resource; the number of replicas decides where nothing is set aside."""
    return 0.75 * (1 - max(fullness(node, load, ask))) + 0.25 * (1 - crowd(load))


SPREAD = Scorer("spread", "particular", 4.0, apart, concerns=_stands_apart, usual=1.0, exceptions=_holders)
ROOM = Scorer("room", "general", 1.0, room, concerns=_spreads, reads=("cpus", "memory"))
