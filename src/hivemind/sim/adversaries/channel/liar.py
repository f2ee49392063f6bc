"""What those have at hand who own a wire, or the key of one node: the streams as they are written, record by record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from hivemind.protocols.machine import MILLISECOND, Micros
from hivemind.sim.adversaries.contract import Adversary
from hivemind.sim.streams import End, Streams

_PREAMBLE = 4


class Liar(Adversary):
    """Whoever is on the wire owns that of every stream of the first node; its keys it does not have."""

    at_a_node: ClassVar[bool] = False
    """It is a member itself, with a key of its own."""
    streams: Streams
    nodes_in_order: Sequence[str]
    seed: bytes
    """All three are set before `begin`."""

    def begin(self) -> None:
        if not self.at_a_node:
            self.streams.tamper = self._tamper

    def healed(self) -> None:
        """Nobody gets anything through a wire that is always cut: it lets go."""
        self.streams.tamper = lambda end, data: [data]

    def _tamper(self, end: End, data: bytes) -> list[bytes]:
        mine = self.process.node in (end.process.node, end.other.process.node)
        return self.tampered(end, data) if mine else [data]

    def tampered(self, end: End, data: bytes) -> list[bytes]:
        return [data]

    def every(self, interval: Micros, act: object) -> None:
        assert callable(act)

        def turn() -> None:
            act()
            self.world.after(interval, turn)

        self.world.after(interval, turn)

    def sometimes(self) -> bool:
        return self.dice.random() < 0.15


def records(data: bytes) -> tuple[bytes, list[bytes]]:
    """The preamble of who calls, and what has its length before it."""
    begins = data[:2] == b"hm"
    head, at, found = data[: _PREAMBLE if begins else 0], _PREAMBLE if begins else 0, list[bytes]()
    while at < len(data):
        size = 2 + int.from_bytes(data[at : at + 2], "big")
        found.append(data[at : at + size])
        at += size
    return head, found


INTERVAL = 60 * MILLISECOND
