"""A node runs so many attempts of tasks at a time, whatever these set aside."""

from __future__ import annotations

from hivemind.model.node import Node
from hivemind.scheduler.contract import Ask
from hivemind.scheduler.filters.contract import Filter, Reason
from hivemind.scheduler.load import Load

FULL = Reason("has no task slot free", "have no task slot free")


def check(node: Node, load: Load, ask: Ask) -> Reason | None:
    return FULL if load.tasks >= node.task_slots else None


FILTER = Filter("slots", check, reads=("task",), concerns=lambda ask: ask.task, watches_load=True)
