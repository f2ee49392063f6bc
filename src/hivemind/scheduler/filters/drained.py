"""Nodes that were cordoned or drained take nothing new."""

from __future__ import annotations

from hivemind.model.node import Node
from hivemind.scheduler.contract import Ask
from hivemind.scheduler.filters.contract import Filter, Reason
from hivemind.scheduler.load import Load

DRAINED = Reason("is drained", "are drained")
CORDONED = Reason("is cordoned", "are cordoned")


def check(node: Node, load: Load, ask: Ask) -> Reason | None:
    if node.drained:
        return DRAINED
    return None if node.schedulable else CORDONED


FILTER = Filter("drained", check, reads=(), concerns=lambda ask: True)
