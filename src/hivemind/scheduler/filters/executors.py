"""A task that another engine runs goes to a node from which that engine can be reached."""

from __future__ import annotations

from hivemind.model.node import Node
from hivemind.scheduler.contract import Ask
from hivemind.scheduler.filters.contract import Filter, Reason
from hivemind.scheduler.load import Load


def check(node: Node, load: Load, ask: Ask) -> Reason | None:
    if ask.executor in node.executors:
        return None
    return Reason(f"has no executor {ask.executor}", f"have no executor {ask.executor}")


FILTER = Filter("executors", check, reads=("executor",), concerns=lambda ask: bool(ask.executor))
