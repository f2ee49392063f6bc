"""Signatures and bytes that are not what they should be."""

from __future__ import annotations

from typing import Any

from hivemind.protocols.machine import Send
from hivemind.protocols.pbft import wire
from hivemind.security.statement import Statement
from hivemind.sim.adversaries.pbft.liar import Liar


class Forger(Liar):
    name = "forger"
    about = "signs with nonsense"
    evidence = ("a signature was forged",)

    def says(self, send: Send, packet: wire.Said, body: wire.Body) -> list[Any]:
        self.tell("a signature was forged")
        false = Statement(packet.statement.signer, packet.statement.body, self.dice.randbytes(64))
        return [Send(send.to, wire.encode(wire.Said(packet.epoch, false, packet.attached)))]


class Impostor(Liar):
    name = "impostor"
    about = "votes in the name of all others, with its own key"
    evidence = ("a vote in another's name",)

    def says(self, send: Send, packet: wire.Said, body: wire.Body) -> list[Any]:
        self.tell("a vote in another's name")
        false = []
        for node in self.others():
            statement = Statement(node, packet.statement.body, packet.statement.signature)
            false.append(Send(send.to, wire.encode(wire.Said(packet.epoch, statement, packet.attached))))
        return [send, *false]


class WrongEpoch(Liar):
    name = "wrong-epoch"
    about = "signs for an epoch before and one after the one that it names"
    evidence = ("a statement of another epoch",)

    def says(self, send: Send, packet: wire.Said, body: wire.Body) -> list[Any]:
        self.tell("a statement of another epoch")
        lies = []
        for epoch in (packet.epoch - 1, packet.epoch + 1):
            statement = self.signed(max(0, epoch), body)
            lies += [
                wire.Said(packet.epoch, statement, packet.attached),
                wire.Said(max(0, epoch), statement, packet.attached),
            ]
        return [Send(send.to, wire.encode(lie)) for lie in lies]


class Malformed(Liar):
    name = "malformed"
    about = "sends messages that are cut off, altered, or nested without end"
    evidence = ("malformed bytes were sent",)

    def sends(self, send: Send) -> list[Any]:
        self.tell("malformed bytes were sent")
        message = bytearray(send.message)
        fate = self.dice.randrange(4)
        if fate == 0:
            del message[self.dice.randrange(len(message)) :]
        elif fate == 1:
            message[self.dice.randrange(len(message))] ^= 1 + self.dice.randrange(255)
        elif fate == 2:
            message = bytearray(b"\x91" * 5_000)
        else:
            message = bytearray(self.dice.randbytes(self.dice.randrange(64)))
        return [Send(send.to, bytes(message))]
