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
from hivemind.protocols.machine import Signer
from hivemind.protocols.pbft import wire
from hivemind.security.statement import Domain, Statement


class Equivocator(engine.AgreedEngine):
    def __init__(self, journal: Any, links: Any, signer: Signer, clock: Any, **options: Any) -> None:
        self._key = signer
        super().__init__(journal, links, signer, clock, **options)
        outbox = self._writer._outbox
        self._put, outbox.put = outbox.put, self._lie  # type: ignore[method-assign]

    def _lie(self, to: str, message: bytes) -> None:
        for each in self._said(to, message) if _SIGN.exists() else [message]:
            self._put(to, each)

    def _said(self, to: str, message: bytes) -> Iterator[bytes]:
        packet = wire.decode(message)
        body = wire.decode_body(packet.statement) if isinstance(packet, wire.Said) else None
        if not isinstance(packet, wire.Said) or packet.statement.signer != self._key.public:
            yield message
        elif isinstance(body, wire.PrePrepare) and packet.attached:
            second = sorted(self._replica.standing().epoch.voters).index(to) % 2
            yield self._another_batch(packet, body) if second else message
        elif isinstance(body, wire.Prepare | wire.Commit):
            yield message
            other = type(body)(body.view, body.sequence, wire.digest(body.digest))
            yield self._signed(packet.epoch, other)
        else:
            yield message

    def _another_batch(self, packet: wire.Said, body: wire.PrePrepare) -> bytes:
        first = wire.decode_proposal(packet.attached)
        second = wire.encode(wire.Proposal(first.time + 1, first.requests))
        lie = wire.PrePrepare(body.view, body.sequence, wire.digest(second))
        return self._signed(packet.epoch, lie, second)

    def _signed(self, epoch: int, body: wire.Body, attached: bytes = b"") -> bytes:
        encoded = wire.encode(body)
        covered = Domain(wire.PROTOCOL, self._state.hive_record.domain, epoch).covered(encoded)
        statement = Statement(self._key.public, encoded, self._key.sign(covered))
        return wire.encode(wire.Said(epoch, statement, attached))


_SIGN = Path(sys.argv[sys.argv.index("--data-dir") + 1]) / "lie"
engine.AgreedEngine = Equivocator  # type: ignore[misc]
run()
