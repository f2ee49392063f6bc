"""Those who say nothing, too little, or too late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from hivemind.protocols.machine import MILLISECOND, Received, Send
from hivemind.protocols.pbft import wire
from hivemind.sim.adversaries.pbft.liar import Liar
from hivemind.sim.process import Process


class Silent(Liar):
    name = "silent"
    about = "hears everything and says nothing"
    mute = True
    evidence: ClassVar[Sequence[str]] = ("something was kept back", "vote in a later view")

    def sends(self, send: Send) -> list[Any]:
        self.tell("something was kept back")
        return []


class SilentChange(Silent):
    name = "silent-during-change"
    about = "a primary that says nothing while voters change"
    evidence = ("something was kept back", "vote in a later view", "epoch began")
    nodes = 6


class SilentBeside(Silent):
    name = "silent-beside-crash"
    about = "f of six say nothing while another one is down: n - q together"
    evidence = ("something was kept back", "vote in a later view", "crash")
    nodes = 6

    def begin(self) -> None:
        """The last one is down from the beginning until all is healed."""
        self.world.at(50 * MILLISECOND, list(self.site.neighbours())[-1].process.crash)


class Slow(Liar):
    name = "slow"
    about = "does everything right, as late as is just not late enough to be given up"
    evidence = ("something was kept waiting",)

    def sends(self, send: Send) -> list[Any]:
        self.tell("something was kept waiting")
        delay = 60 * MILLISECOND + self.dice.randrange(60) * MILLISECOND
        self.world.after(delay, lambda: self._late(send))
        return []

    def _late(self, send: Send) -> None:
        """What is on its way does not come through its own mind again."""
        if self.process.up:
            self.process.network.send(self.process.node, send.to, send.message)


class Censor(Liar):
    name = "censor"
    about = "a primary that never proposes what one person wishes"
    evidence = ("a wish was censored", "vote in a later view")

    def hears(self, process: Process, event: Any) -> Any | None:
        if isinstance(event, Received):
            packet = _read(event.message)
            if isinstance(packet, wire.Wish) and self._victim(packet.request):
                self.tell("a wish was censored")
                return None
        return event

    def _victim(self, request: wire.Request) -> bool:
        """Of the node that comes last."""
        return request.client == self.others()[-1]


class Withholder(Liar):
    name = "withholder"
    about = "votes, but gives nobody what they lack: no bodies, no decisions, no states"
    evidence = ("an answer was withheld",)

    def passes(self, send: Send, packet: wire.Packet) -> list[Any]:
        if isinstance(packet, wire.Bodies | wire.Decisions | wire.Stable | wire.Chain | wire.Status):
            self.tell("an answer was withheld")
            return []
        return [send]


class Erratic(Liar):
    name = "erratic"
    about = "drops, doubles, delays and reorders what it says, to each differently"
    evidence = ("something was dropped", "something was doubled", "something was kept waiting")

    def sends(self, send: Send) -> list[Any]:
        fate = self.dice.randrange(5)
        if fate == 0:
            self.tell("something was dropped")
            return []
        if fate == 1:
            self.tell("something was doubled")
            return [send, send]
        if fate == 2:
            self.tell("something was kept waiting")
            delay = self.dice.randrange(300) * MILLISECOND
            self.world.after(
                delay, lambda: self.process.network.send(self.process.node, send.to, send.message)
            )
            return []
        return [send]


def _read(message: bytes) -> wire.Packet | None:
    try:
        return wire.decode(message)
    except wire.Malformed:
        return None
