"""What those who lie to SWIM have at hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from hivemind.protocols.machine import Micros
from hivemind.protocols.swim import wire
from hivemind.protocols.swim.statements import Body
from hivemind.security.statement import Domain, Statement
from hivemind.sim.adversaries.contract import Adversary

_HIVE = "sim"


class Liar(Adversary):
    everybody: Sequence[str]
    """All members, itself too. Set before `begin`."""

    def others(self) -> list[str]:
        return [node for node in self.everybody if node != self.key.public]

    def signed(self, body: Body, *, name: str = "") -> Statement:
        """`name`: in whose, with its own key."""
        encoded = msgspec.msgpack.encode(body)
        signature = self.key.sign(Domain("swim", _HIVE).covered(encoded))
        return Statement(name or self.key.public, encoded, signature)

    def gossip(self, to: str, *statements: Statement) -> None:
        self.now_send(to, wire.encode(wire.Gossip(statements)))

    def every(self, interval: Micros, act: Callable[[], None]) -> None:
        def turn() -> None:
            if self.process.up and not self.process.frozen:
                act()
            self.world.after(interval, turn)

        self.world.after(interval, turn)
