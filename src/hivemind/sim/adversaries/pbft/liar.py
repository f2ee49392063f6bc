"""What all that lie to PBFT have at hand: the node's key, its site, and what it is about to say, decoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hivemind.protocols.machine import Micros, Send
from hivemind.protocols.pbft import wire
from hivemind.protocols.pbft.certificate import primary
from hivemind.protocols.pbft.events import Standing
from hivemind.security.statement import Domain, Statement
from hivemind.sim.adversaries.contract import Adversary
from hivemind.sim.hosts.pbft.site import HIVE, Site


class Liar(Adversary):
    site: Site
    span: Micros
    """How long the faults last. Both are set before `begin`."""

    def sends(self, send: Send) -> list[Any]:
        packet = wire.decode(send.message)
        if isinstance(packet, wire.Said) and packet.statement.signer == self.key.public:
            return self.says(send, packet, wire.decode_body(packet.statement))
        return self.passes(send, packet)

    def says(self, send: Send, packet: wire.Said, body: wire.Body) -> list[Any]:
        """Its own statements."""
        return [send]

    def passes(self, send: Send, packet: wire.Packet) -> list[Any]:
        """Everything else."""
        return [send]

    # -- its tools ---------------------------------------------------------------------------------------------

    def standing(self) -> Standing | None:
        return self.site.replica.standing() if self.site.replica is not None else None

    def signed(self, epoch: int, body: wire.Body, *, hive: str = HIVE) -> Statement:
        encoded = wire.encode(body)
        covered = Domain(wire.PROTOCOL, hive, epoch).covered(encoded)
        return Statement(self.key.public, encoded, self.key.sign(covered))

    def said(self, to: str, epoch: int, body: wire.Body, attached: bytes = b"") -> Send:
        return Send(to, wire.encode(wire.Said(epoch, self.signed(epoch, body), attached)))

    def others(self) -> Sequence[str]:
        """The other voters of its epoch, in their order."""
        standing = self.standing()
        voters = standing.epoch.voters if standing is not None else ()
        return [node for node in voters if node != self.key.public]

    def is_primary(self) -> bool:
        standing = self.standing()
        return standing is not None and primary(standing.epoch, standing.view) == self.key.public

    def every(self, interval: Micros, act: Any) -> None:
        """From the beginning to the end, whenever it is up."""

        def turn() -> None:
            if self.process.up and not self.process.frozen:
                act()
            self.world.after(interval, turn)

        self.world.after(interval, turn)
