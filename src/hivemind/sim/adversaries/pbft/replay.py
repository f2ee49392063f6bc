"""Those who say again what was said before, elsewhere or at another time."""

from __future__ import annotations

from typing import Any

from hivemind.protocols.machine import MILLISECOND, Received, Send
from hivemind.protocols.pbft import wire
from hivemind.sim.adversaries.pbft.liar import Liar
from hivemind.sim.process import Process

_KEPT = 2_000


class Replayer(Liar):
    name = "replayer"
    about = "passes on whatever it ever heard, across views, epochs and restarts"
    evidence = ("something old was said again",)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._heard: list[bytes] = []

    def hears(self, process: Process, event: Any) -> Any | None:
        if isinstance(event, Received) and len(self._heard) < _KEPT:
            self._heard.append(event.message)
        return event

    def begin(self) -> None:
        self.every(10 * MILLISECOND, self._repeat)

    def _repeat(self) -> None:
        if self._heard:
            self.tell("something old was said again")
            for node in self.others():
                self.now_send(node, self.dice.choice(self._heard))


class ForeignHive(Liar):
    name = "foreign-hive"
    about = "says what it signed for another hive"
    evidence = ("a statement for another hive",)

    def says(self, send: Send, packet: wire.Said, body: wire.Body) -> list[Any]:
        self.tell("a statement for another hive")
        statement = self.signed(packet.epoch, body, hive="elsewhere")
        return [Send(send.to, wire.encode(wire.Said(packet.epoch, statement, packet.attached)))]
