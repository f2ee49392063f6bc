"""Writers that lie: each a lie."""

from __future__ import annotations

from typing import Any

from hivemind.protocols.autobee import steps, wire
from hivemind.protocols.machine import MILLISECOND, Send, Tick
from hivemind.sim.adversaries.autobee.liar import Liar
from hivemind.sim.hosts.autobee.keeper import Durable
from hivemind.sim.process import Process


class Forker(Liar):
    name = "forker"
    about = "keeps two logs under one number, and shows one to some and the other to the rest"
    evidence = ("two logs were shown",)
    convicts = True

    def does(self, process: Process, event: Any, effects: list[Any]) -> list[Any]:
        if isinstance(event, steps.Write):
            batch = tuple((key, b"forked " + (value or b"")) for key, value in event.batch)
            event = steps.Write(batch, event.time)
        second = list(self.twin.handle(event, process.now))
        for effect in [*second]:
            if isinstance(effect, Durable):
                second += self.twin.handle(steps.Stored(), process.now)
        second += self.twin.handle(Tick(), process.now)
        deceived = set(self.others()[: len(self.others()) // 2])
        shown = [one for one in second if isinstance(one, Send) and one.to in deceived]
        if shown:
            self.tell("two logs were shown")
        honest = [one for one in effects if not (isinstance(one, Send) and one.to in deceived)]
        return [*honest, *shown]


class Withholder(Liar):
    name = "withholder"
    about = "passes on nothing of others, and answers no question"
    evidence = ("an answer was withheld",)

    def sends(self, send: Send) -> list[Any]:
        read = wire.decode(send.message)
        if isinstance(read, wire.Living | wire.Want | wire.Summary):
            self.tell("an answer was withheld")
            return []
        return [send]


class Swapper(Liar):
    name = "swapper"
    about = "alters bytes of what it sends"
    evidence = ("a message was altered",)

    def sends(self, send: Send) -> list[Any]:
        if self.dice.random() < 0.5:
            return [send]
        self.tell("a message was altered")
        message = bytearray(send.message)
        message[self.dice.randrange(len(message))] ^= 1 + self.dice.randrange(255)
        return [Send(send.to, bytes(message))]


class Babbler(Liar):
    name = "babbler"
    about = "sends what means nothing"
    evidence = ("babble",)

    def begin(self) -> None:
        self._babble()

    def _babble(self) -> None:
        self.tell("babble")
        for node in self.others():
            self.now_send(node, self.dice.randbytes(self.dice.choice((1, 30, 500))))
        self.world.after(20 * MILLISECOND, self._babble)
