"""A daemon that lies, started like any other: the real program with the real key of its node, but once the file `lie`
is in its data directory it says two things in one place. As primary it proposes one batch to some voters and another to
the rest; of every other vote it signs a second one, for something else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hivemind.cli.main import run
from hivemind.ledger.agreed import engine
from hivemind.protocols.machine import Send, Signer
from hivemind.protocols.pbft import wire
from hivemind.security.statement import Domain, Statement


class Equivocator(engine.AgreedEngine):
    def __init__(self, journal: Any, links: Any, signer: Signer, clock: Any, **options: Any) -> None:
        self._key = signer
        self._told: set[str] = set()
        super().__init__(journal, links, signer, clock, **options)

    def _perform(self, effect: Any) -> None:
        if isinstance(effect, Send) and _SIGN.exists():
            for send in self._said(effect):
                super()._perform(send)
        else:
            super()._perform(effect)

    def _said(self, send: Send) -> Iterator[Send]:
        packet = wire.decode(send.message)
        body = wire.decode_body(packet.statement) if isinstance(packet, wire.Said) else None
        if not isinstance(packet, wire.Said) or packet.statement.signer != self._key.public:
            yield send
        elif isinstance(body, wire.PrePrepare) and packet.attached:
            second = sorted(self._replica.standing().epoch.voters).index(send.to) % 2
            yield self._another_batch(send.to, packet, body) if second else send
        elif isinstance(body, wire.Prepare | wire.Commit):
            yield send
            other = type(body)(body.view, body.sequence, wire.digest(body.digest))
            yield self._signed(send.to, packet.epoch, other)
        else:
            yield send

    def _another_batch(self, to: str, packet: wire.Said, body: wire.PrePrepare) -> Send:
        first = wire.decode_proposal(packet.attached)
        second = wire.encode(wire.Proposal(first.time + 1, first.requests))
        lie = wire.PrePrepare(body.view, body.sequence, wire.digest(second))
        return self._signed(to, packet.epoch, lie, second)

    def _signed(self, to: str, epoch: int, body: wire.Body, attached: bytes = b"") -> Send:
        encoded = wire.encode(body)
        covered = Domain(wire.PROTOCOL, self._state.hive_record.domain, epoch).covered(encoded)
        statement = Statement(self._key.public, encoded, self._key.sign(covered))
        return Send(to, wire.encode(wire.Said(epoch, statement, attached)))


_SIGN = Path(sys.argv[sys.argv.index("--data-dir") + 1]) / "lie"
engine.AgreedEngine = Equivocator  # type: ignore[misc]
run()
