"""Too much of everything, and clients that say two things."""

from __future__ import annotations

from typing import Any

from hivemind.protocols.machine import MILLISECOND, Send
from hivemind.protocols.pbft import limits, wire
from hivemind.sim.adversaries.pbft.liar import Liar
from hivemind.sim.hosts.pbft.application import Command, request


class Flooder(Liar):
    name = "flooder"
    about = "asks for everything, all the time, and wishes without end"
    evidence = ("a flood",)

    def begin(self) -> None:
        self._count = 0
        self.every(60 * MILLISECOND, self._flood)

    def _flood(self) -> None:
        self.tell("a flood")
        standing = self.standing()
        if standing is None:
            return
        self._count += 1
        wish = request(self.key, self._count, self.key.public, Command("put", "flood", str(self._count)))
        self.site.wished(wish.id)
        packets = (
            wire.FetchDecided(1),
            wire.FetchBodies(tuple(self.dice.randbytes(32) for _ in range(limits.LISTED))),
            wire.Status(standing.epoch.number, 0, True, 0, 0, tuple(range(1, limits.LISTED)), True),
            wire.Recall(standing.epoch.number),
            wire.Wish(wish),
        )
        for node in self.others():
            for packet in packets:
                self.now_send(node, wire.encode(packet))


class Babbler(Liar):
    name = "babbler"
    about = "sends bytes that mean nothing, as fast as it can"
    evidence = ("babble",)

    def begin(self) -> None:
        self.every(5 * MILLISECOND, self._babble)

    def _babble(self) -> None:
        self.tell("babble")
        for node in self.others():
            self.now_send(node, self.dice.randbytes(1 + self.dice.randrange(200)))


class Oversize(Liar):
    name = "oversize"
    about = "sends what is larger than anything may be, as messages and inside of them"
    evidence = ("something oversize was sent",)

    def begin(self) -> None:
        self.every(200 * MILLISECOND, self._swell)

    def _swell(self) -> None:
        self.tell("something oversize was sent")
        huge = wire.Request(f"{self.key.public}/{'9' * 300}", "", b"x" * (limits.REQUEST_SIZE + 1))
        many = wire.FetchBodies(tuple(bytes(32) for _ in range(limits.LISTED * 4)))
        for node in self.others():
            for message in (bytes(limits.MESSAGE_SIZE + 1), wire.encode(wire.Wish(huge)), wire.encode(many)):
                self.now_send(node, message)


class EquivocatingClient(Liar):
    name = "equivocating-client"
    about = "wishes two things under one name, one of this half and the other of that"
    evidence = ("two wishes under one name",)

    def begin(self) -> None:
        self._count = 0
        self.every(60 * MILLISECOND, self._wish)

    def _wish(self) -> None:
        self.tell("two wishes under one name")
        self._count += 1
        two = [
            request(self.key, self._count, self.key.public, Command("put", "two", value))
            for value in ("one", "other")
        ]
        self.site.wished(two[0].id)
        for number, node in enumerate(self.others()):
            self.now_send(node, wire.encode(wire.Wish(two[number % 2])))


class Bundler(Liar):
    name = "bundler"
    about = "puts messages together twice over, within each other, and more of them than may be"
    evidence = ("messages were put together",)

    def sends(self, send: Send) -> list[Any]:
        self.tell("messages were put together")
        one, twice = send.message, wire.Several((send.message,) * 2)
        bundle = self.dice.choice(
            (twice, wire.Several((wire.encode(twice), one)), wire.Several((one,) * (limits.TOGETHER + 1)))
        )
        return [Send(send.to, wire.encode(bundle))]
