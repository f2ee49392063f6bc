"""The nodes as one round of placing sees them: their loads, their order, and which of them changed when."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from hivemind.model.node import Node
from hivemind.scheduler.contract import Ask, Hints, Use
from hivemind.scheduler.load import Load


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


class Cluster:
    """Nodes stand on a ring, ordered by a hash of their ids: `nodes[i]` and `loads[i]` are at position i."""

    def __init__(self, nodes: Mapping[str, Node], uses: Mapping[str, Use], hints: Hints) -> None:
        self.nodes = sorted(nodes.values(), key=lambda node: (_hash(node.id), node.id))
        self.loads = [Load(uses.get(node.id)) for node in self.nodes]
        self.hints = hints
        self.position = {node.id: i for i, node in enumerate(self.nodes)}
        self.held = frozenset(i for i, node in enumerate(self.nodes) if node.held_until)
        """Positions of those that were lost too often lately: they are the last resort."""
        self.holders: dict[str, set[str]] = {}
        """App -> ids of the nodes that hold replicas of it."""
        self.publishers: dict[str, set[str]] = {}
        """Published port -> ids of the nodes on which an app holds it."""
        self.changes: list[int] = []
        """Positions in the order in which their load changed; rankings remember how far they have read."""
        for node, load in zip(self.nodes, self.loads, strict=True):
            for app, replicas in load.apps.items():
                if replicas:
                    self.holders.setdefault(app, set()).add(node.id)
            for port in load.ports:
                self.publishers.setdefault(port, set()).add(node.id)

    def start(self, ask: str) -> int:
        """Where on the ring the ask with this id looks first."""
        return _hash(ask) % len(self.nodes) if self.nodes else 0

    def put(self, ask: Ask, position: int) -> None:
        self.loads[position].add(ask)
        self.holders.setdefault(ask.app, set()).add(self.nodes[position].id)
        for port in ask.host_ports:
            self.publishers.setdefault(port, set()).add(self.nodes[position].id)
        self.changes.append(position)
