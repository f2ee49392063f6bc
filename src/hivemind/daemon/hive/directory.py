"""Who belongs to the hive, and where each of its nodes may be reached: by what was agreed, what membership hears, what
was found, and what was remembered."""

from __future__ import annotations

import time
from collections.abc import Callable

from hivemind.daemon.hive.addresses import parse
from hivemind.errors import Invalid
from hivemind.state.state import State
from hivemind.transport.contract import Address

_FAREWELL = 30.0
"""Seconds that a node which has left, or was expelled, is still talked to: it has to learn that it has."""


class Directory:
    """`clock`: seconds that only go forward."""

    def __init__(
        self,
        node: str,
        state: State,
        remembered: dict[str, tuple[Address, ...]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._node, self._state, self._clock = node, state, clock
        self._remembered = dict(remembered)
        self._heard: dict[str, tuple[Address, ...]] = {}
        self._found: dict[str, tuple[Address, ...]] = {}
        self._members: set[str] = set()
        self._left: dict[str, float] = {}
        self.settled()

    def allowed(self, node: str) -> bool:
        """Whether it may be talked to: it belongs to the hive now, or did just now."""
        return self.belongs(node) or (node in self._left and self._clock() < self._left[node])

    def belongs(self, node: str) -> bool:
        """Before anything is known of the hive's nodes, those that the sponsor named are believed."""
        nodes = self._state.nodes
        return node in nodes or (self._node not in nodes and node in self._remembered)

    def settled(self) -> bool:
        """To be called when nodes have changed. Whether somebody is not of the hive any more."""
        now, current = self._clock(), set(self._state.nodes)
        gone = self._members - current
        left = {**self._left, **dict.fromkeys(gone, now + _FAREWELL)}
        self._left = {node: until for node, until in left.items() if until > now and node not in current}
        self._members = current
        return bool(gone)

    def heard(self, node: str, addresses: tuple[Address, ...]) -> None:
        """What the node itself signed, so newer than what was agreed."""
        self._heard[node] = addresses

    def found(self, node: str, addresses: tuple[Address, ...]) -> None:
        """What the node itself announced where everybody may ask for it."""
        self._found[node] = addresses

    def others(self) -> list[str]:
        known = self._members or set(self._remembered)
        return sorted(known - {self._node})

    def addresses(self, node: str) -> tuple[Address, ...]:
        """The likeliest first."""
        record = self._state.nodes.get(node)
        agreed = [each for text in (record.addresses if record else ()) for each in _parsed(text)]
        heard, found = self._heard.get(node, ()), self._found.get(node, ())
        return tuple(dict.fromkeys((*heard, *found, *agreed, *self._remembered.get(node, ()))))

    def everybody(self) -> dict[str, tuple[Address, ...]]:
        return {node: found for node in self.others() if (found := self.addresses(node))}


def _parsed(text: str) -> list[Address]:
    try:
        return [parse(text)]
    except Invalid:
        return []
