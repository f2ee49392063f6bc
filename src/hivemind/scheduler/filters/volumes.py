"""A volume that is on one node only takes its users there."""

from __future__ import annotations

from hivemind.model.node import Node
from hivemind.scheduler.contract import Ask
from hivemind.scheduler.filters.contract import Filter, Reason
from hivemind.scheduler.load import Load


def check(node: Node, load: Load, ask: Ask) -> Reason | None:
    missing = [name for name, home in ask.volumes if home != node.id]
    if not missing:
        return None
    volumes = f"volume {missing[0]}" if len(missing) == 1 else f"volumes {', '.join(missing)}"
    return Reason(f"does not have {volumes}", f"do not have {volumes}")


FILTER = Filter("volumes", check, reads=("volumes",), concerns=lambda ask: bool(ask.volumes))
