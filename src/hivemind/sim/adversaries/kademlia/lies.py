"""Nodes of the table that lie: each a lie."""

from __future__ import annotations

from typing import Any

import msgspec

from hivemind.protocols.kademlia import wire
from hivemind.protocols.kademlia.ids import Address, distance, node_id
from hivemind.protocols.kademlia.tokens import digested
from hivemind.protocols.machine import MILLISECOND
from hivemind.sim.adversaries.kademlia.liar import Liar, answering, without

_TOPIC = b"t" * 32
_NOWHERE: Address = ("203.0.113.9", 9)


class WrongId(Liar):
    name = "wrong-id"
    about = "claims ids that do not belong to its address, close to what others look for"
    evidence = ("a wrong id was claimed",)

    def says(self, to: str, message: wire.Message) -> list[Any]:
        self.tell("a wrong id was claimed")
        close = _TOPIC[:-2] + self.dice.randbytes(2)
        return super().says(to, msgspec.structs.replace(message, id=close))


class TokenForger(Liar):
    name = "token-forger"
    about = "announces with tokens that it made up, or that another node gave"
    evidence = ("a token was forged",)

    def begin(self) -> None:
        self.every(50 * MILLISECOND, self._forge)

    def _forge(self) -> None:
        self.tell("a token was forged")
        to = self.dice.choice(self.others())
        of_another = [token for node, token in sorted(self.tokens.items()) if node != to]
        token = self.dice.choice([*of_another, self.dice.randbytes(16)])
        peer = wire.encode_peer(wire.Peer(self.wall(), (_NOWHERE,)))
        signature = self.signed(_TOPIC, digested(token), node_id(self.places[to]), peer)
        self.ask(to, wire.Announce(_TOPIC, token, peer, signature))
        self.ask(to, wire.Refresh(_TOPIC, token, self.dice.randbytes(32)))


class Flooder(Liar):
    name = "record-flooder"
    about = "announces itself under more topics than anybody may, with good tokens"
    evidence = ("a record too many",)

    def begin(self) -> None:
        self.every(20 * MILLISECOND, self._flood)

    def _flood(self) -> None:
        for to, token in sorted(self.tokens.items()):
            self.tell("a record too many")
            topic = self.dice.randbytes(32)
            peer = wire.encode_peer(wire.Peer(self.wall(), (_NOWHERE,)))
            signature = self.signed(topic, digested(token), node_id(self.places[to]), peer)
            self.ask(to, wire.Announce(topic, token, peer, signature))


class Eclipse(Liar):
    name = "eclipse"
    about = "knows nobody but nodes that do not exist, closer to the target than any real one"
    evidence = ("invented nodes were named",)

    def begin(self) -> None:
        invented: list[Address] = [("203.0.113.9", port) for port in range(1, 500)]
        self._near = sorted(invented, key=lambda each: distance(node_id(each), _TOPIC))[: wire.MAX_CLOSER]

    def says(self, to: str, message: wire.Message) -> list[Any]:
        if not isinstance(message, wire.Answer) or not (message.closer or message.records):
            return super().says(to, message)
        self.tell("invented nodes were named")
        return super().says(to, answering(without(message), self._near, ()))


class RecordForger(Liar):
    name = "record-forger"
    about = "hands out records in others' names, under its own key, altered, or stored elsewhere"
    evidence = ("a forged record was handed out",)

    def says(self, to: str, message: wire.Message) -> list[Any]:
        if not isinstance(message, wire.Answer) or not (message.closer or message.records):
            return super().says(to, message)
        self.tell("a forged record was handed out")
        peer = wire.encode_peer(wire.Peer(self.wall(), (_NOWHERE,)))
        own = node_id(self.places[self.key.public])
        victim = bytes.fromhex(self.dice.choice(self.others()))
        forged = wire.Record(victim, b"t" * 16, peer, self.signed(_TOPIC, b"t" * 16, own, peer))
        altered = [msgspec.structs.replace(record, peer=peer) for record in self.records[-2:]]
        return super().says(to, answering(without(message), (), [forged, *altered, *self.records[-2:]]))


class Babbler(Liar):
    name = "babbler"
    about = "sends what means nothing, is too large, or answers what nobody asked"
    evidence = ("babble",)

    def begin(self) -> None:
        self.every(20 * MILLISECOND, self._babble)

    def _babble(self) -> None:
        self.tell("babble")
        for to in self.others():
            self.now_send(to, self.dice.randbytes(self.dice.choice((1, 7, 60, 1_200, 5_000))))
            unasked = wire.Answer(self.dice.randrange(2**62), self.places[to], b"", closer=(_NOWHERE,))
            self.now_send(to, wire.encode(unasked))
            self.ask(to, wire.Down(self.places[self.dice.choice(self.others())]))
