"""What is derived from the records of nodes and of the hive, so that nobody walks through thousands of them."""

from __future__ import annotations

from typing import Any

from hivemind.model.allocation import Allocation
from hivemind.model.hive import Accusation
from hivemind.model.node import Node
from hivemind.state.multimap import add, drop
from hivemind.state.tables import Change


class HiveIndex:
    """Ids of nodes, and of allocations that move. Whoever walks through a set sorts it."""

    def __init__(self) -> None:
        self.ready: set[str] = set()
        """Nodes that can be voters."""
        self.leaving: set[str] = set()
        self.away: set[str] = set()
        """Lost, or not there yet."""
        self.accused: dict[str, set[str]] = {}
        """Node -> keys of the accusations of it."""
        self.moving: set[str] = set()
        """Allocations that are to run elsewhere, see `state.rebalancing`."""
        self._named: dict[str, str] = {}

    def named(self, name: str) -> str:
        """Id of the node of that name; empty when there is none."""
        return self._named.get(name, "")

    def reindex(self, change: Change) -> None:
        kind = _KINDS.get(change.table)
        if kind is not None:
            kind(self, change.old, change.new)

    def _node(self, old: Node | None, new: Node | None) -> None:
        if old:
            for ids in (self.ready, self.leaving, self.away):
                ids.discard(old.id)
            if self._named.get(old.name) == old.id:
                del self._named[old.name]
        if new:
            self._named[new.name] = new.id
            if new.ready:
                self.ready.add(new.id)
            if new.leaving:
                self.leaving.add(new.id)
            if new.away:
                self.away.add(new.id)

    def _accusation(self, old: Accusation | None, new: Accusation | None) -> None:
        if old:
            drop(self.accused, old.accused, old.key)
        if new:
            add(self.accused, new.accused, new.key)

    def _allocation(self, old: Allocation | None, new: Allocation | None) -> None:
        if old:
            self.moving.discard(old.id)
        if new and new.moving_to:
            self.moving.add(new.id)


_KINDS: dict[str, Any] = {
    "nodes": HiveIndex._node,
    "accusations": HiveIndex._accusation,
    "allocations": HiveIndex._allocation,
}
