"""What those who lie about where nodes are have at hand: the tokens that others gave them, and the records they saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from hivemind.protocols.kademlia import wire
from hivemind.protocols.kademlia.ids import Address
from hivemind.protocols.machine import Micros, Received, Send
from hivemind.security.statement import Domain
from hivemind.sim.adversaries.contract import Adversary
from hivemind.sim.process import Process

HIVE = "sim"


class Liar(Adversary):
    places: Mapping[str, Address]
    """Of all nodes, its own too. Set before `begin`."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.tokens: dict[str, bytes] = {}
        self.records: list[wire.Record] = []

    def others(self) -> list[str]:
        return [node for node in self.places if node != self.key.public]

    def hears(self, process: Process, event: Any) -> Any | None:
        read = wire.decode(event.message) if isinstance(event, Received) else None
        if isinstance(read, wire.Answer):
            if read.token:
                self.tokens[event.sender] = read.token
            self.records = [*self.records, *read.records][-50:]
        return event

    def sends(self, send: Send) -> list[Any]:
        read = wire.decode(send.message)
        return [] if read is None else self.says(send.to, read)

    def says(self, to: str, message: wire.Message) -> list[Any]:
        """In the place of what its machine would say."""
        return [Send(to, wire.encode(message))]

    def ask(self, to: str, ask: wire.Ask, id: bytes = b"") -> None:
        question = wire.Question(self.dice.randrange(2**62), self.places[to], id, ask)
        self.now_send(to, wire.encode(question))

    def wall(self) -> int:
        return self.process.wall(self.process.now) * 1_000

    def signed(self, target: bytes, token: bytes, storer: bytes, peer: bytes) -> bytes:
        return self.key.sign(Domain("dht/announce", HIVE).covered(target + token + storer + peer))

    def every(self, interval: Micros, act: Callable[[], None]) -> None:
        def turn() -> None:
            if self.process.up and not self.process.frozen:
                act()
            self.world.after(interval, turn)

        self.world.after(interval, turn)


def answering(message: wire.Answer, closer: Sequence[Address], records: Sequence[wire.Record]) -> wire.Answer:
    fitted = wire.decode(wire.fitted(message, closer, records))
    assert isinstance(fitted, wire.Answer)
    return fitted


def without(message: wire.Answer) -> wire.Answer:
    return msgspec.structs.replace(message, closer=(), records=())
