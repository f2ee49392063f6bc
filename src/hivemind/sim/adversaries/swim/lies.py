"""Members that lie: each a lie."""

from __future__ import annotations

from typing import Any

from hivemind.protocols.machine import MILLISECOND, Received, Send
from hivemind.protocols.swim import wire
from hivemind.protocols.swim.statements import Alive, Dead, Leaving, Suspect
from hivemind.protocols.swim.swim import Swim
from hivemind.sim.adversaries.swim.liar import Liar
from hivemind.sim.process import Process


class Accuser(Liar):
    name = "accuser"
    about = "accuses everybody, all the time, of all incarnations"
    evidence = ("a false accusation",)

    def begin(self) -> None:
        self.every(100 * MILLISECOND, self._accuse)

    def _accuse(self) -> None:
        self.tell("a false accusation")
        accused = self.dice.choice(self.others())
        incarnation = self.dice.choice((1, 2, 3, self._incarnation(accused), 10**9))
        for node in self.others():
            kind = self.dice.choice((Suspect, Dead))
            self.gossip(node, self.signed(kind(accused, incarnation)))

    def _incarnation(self, node: str) -> int:
        """The present one, where its own machine knows it."""
        machine = self.process.machine
        known = machine._roster.members.get(node) if isinstance(machine, Swim) else None
        return known.incarnation if known is not None else 1


class Raiser(Liar):
    name = "raiser"
    about = "raises others' incarnations, and lets them leave, in their name with its own key"
    evidence = ("a statement in another's name",)

    def begin(self) -> None:
        self.every(100 * MILLISECOND, self._raise)

    def _raise(self) -> None:
        self.tell("a statement in another's name")
        victim = self.dice.choice(self.others())
        for node in self.others():
            for body in (Alive(10_000, (("203.0.113.9", 1),)), Leaving(10_000)):
                self.gossip(node, self.signed(body, name=victim))


class Reviver(Liar):
    name = "reviver"
    about = "passes on whatever it ever heard, old answers and old incarnations too"
    evidence = ("something old was said again",)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._heard: list[bytes] = []

    def hears(self, process: Process, event: Any) -> Any | None:
        if isinstance(event, Received) and len(self._heard) < 5_000:
            self._heard.append(event.message)
        return event

    def begin(self) -> None:
        self.every(30 * MILLISECOND, self._repeat)

    def _repeat(self) -> None:
        if self._heard:
            self.tell("something old was said again")
            for node in self.others():
                self.now_send(node, self.dice.choice(self._heard))


class Mute(Liar):
    name = "mute"
    about = "helps nobody: it neither answers nor vouches, and still gossips"
    evidence = ("an answer was withheld",)

    def sends(self, send: Send) -> list[Any]:
        if isinstance(wire.decode(send.message), wire.Ack | wire.Vouch | wire.Nack):
            self.tell("an answer was withheld")
            return []
        return [send]


class Racer(Liar):
    name = "racer"
    about = "raises its own incarnation without end, as far as numbers go"
    evidence = ("an incarnation was raised without need",)

    def begin(self) -> None:
        self._next = 10
        self.every(50 * MILLISECOND, self._race)

    def _race(self) -> None:
        self.tell("an incarnation was raised without need")
        self._next = min(self._next * 3, 2**62 - 1)
        for node in self.others():
            self.gossip(node, self.signed(Alive(self._next, (("203.0.113.9", 1),), b"x" * 200)))


class Babbler(Liar):
    name = "babbler"
    about = "sends what means nothing, is too large, or is cut off"
    evidence = ("babble",)

    def begin(self) -> None:
        self.every(20 * MILLISECOND, self._babble)

    def _babble(self) -> None:
        self.tell("babble")
        for node in self.others():
            size = self.dice.choice((1, 7, 60, 1_200, 5_000))
            self.now_send(node, self.dice.randbytes(size))
            self.now_send(node, b"\x91" * size)


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
