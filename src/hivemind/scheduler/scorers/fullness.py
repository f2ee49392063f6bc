"""How full a node would be: what both spreading and packing look at, from opposite sides."""

from __future__ import annotations

from hivemind.model.node import Node
from hivemind.scheduler.contract import Ask
from hivemind.scheduler.load import MICRO, Load


def fullness(node: Node, load: Load, ask: Ask) -> tuple[float, float]:
    """Shares of the node's cores and memory that are set aside once `ask` is there, each 0..1.

    A resource that the node does not offer counts as unused: only asks that do not want it get here."""
    cpus = (load.cpus + ask.cpus * MICRO) / (node.cpus * MICRO) if node.cpus else 0.0
    memory = (load.memory + ask.memory) / node.memory if node.memory else 0.0
    return (cpus if cpus < 1 else 1.0, memory if memory < 1 else 1.0)


def crowd(load: Load) -> float:
    """0 on an empty node, 1/2 with one replica, 2/3 with two, towards 1."""
    return load.replicas / (1 + load.replicas)
