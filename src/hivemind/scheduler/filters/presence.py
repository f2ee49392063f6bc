"""Nodes that are not there, only decide, or were cordoned or drained take nothing new."""

from __future__ import annotations

from hivemind.model.node import Node
from hivemind.scheduler.contract import Ask
from hivemind.scheduler.filters.contract import Filter, Reason
from hivemind.scheduler.load import Load

EXPECTED = Reason("is not there yet", "are not there yet")
LOST = Reason("is lost", "are lost")
RESTARTING = Reason("is restarting", "are restarting")
WITNESS = Reason("is a witness", "are witnesses")
LEAVING = Reason("is leaving", "are leaving")
DRAINED = Reason("is drained", "are drained")
CORDONED = Reason("is cordoned", "are cordoned")


def check(node: Node, load: Load, ask: Ask) -> Reason | None:
    if node.schedulable and not (node.drained or node.lost or node.expected or node.restarting):
        return WITNESS if node.role == "witness" else None
    if node.expected:
        return EXPECTED
    if node.lost:
        return LOST
    if node.leaving:
        return LEAVING
    if node.restarting:
        return RESTARTING
    return DRAINED if node.drained else CORDONED


FILTER = Filter("presence", check, reads=(), concerns=lambda ask: True)
