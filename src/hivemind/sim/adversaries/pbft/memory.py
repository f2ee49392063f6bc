"""Those who forget."""

from __future__ import annotations

from typing import Any

from hivemind.protocols.machine import MILLISECOND, Micros, Send
from hivemind.protocols.pbft import events, wire
from hivemind.sim.adversaries.pbft.liar import Liar
from hivemind.sim.hosts.pbft.application import Command, request

_ON_ITS_WAY = 700
"""Microseconds after which an offer was durable here, and was sent."""
_PAUSE = 70 * MILLISECOND
_CONTRADICTION = "a vote contradicted a forgotten one"


class Forgetful(Liar):
    name = "forgetful"
    about = "loses its votes at each of many restarts, and says nothing of it"
    evidence = ("votes were forgotten", "an offer was forgotten", _CONTRADICTION)
    convicts = True
    calm = True
    same_voters = True

    def begin(self) -> None:
        self._count = 0
        self._again: Micros = 0
        self._voted: dict[tuple[int, int, int], bytes] = {}
        self.every(350 * MILLISECOND, self._forget)

    def says(self, send: Send, packet: wire.Said, body: wire.Body) -> list[Any]:
        """A primary that forgets what it has just offered, and has something else to offer at once."""
        if isinstance(body, wire.PrePrepare | wire.Prepare | wire.Commit):
            place = packet.epoch, body.view, body.sequence
            if self._voted.setdefault(place, body.digest) != body.digest:
                self.tell(_CONTRADICTION)
        offers = isinstance(body, wire.PrePrepare) and packet.attached and send.to == self.others()[-1]
        if offers and self.world.now >= self._again:
            self._again = self.world.now + _PAUSE
            self.tell("an offer was forgotten")
            self.world.after(_ON_ITS_WAY, self._offer_again)
        return [send]

    def _offer_again(self) -> None:
        if self.process.up:
            self._forget()
            self._count += 1
            wish = request(self.key, self._count, self.key.public, Command("put", "mind", str(self._count)))
            self.site.wished(wish.id)
            self.process.submit(events.Submitted(wish))

    def _forget(self) -> None:
        self.tell("votes were forgotten")
        self.process.crash()
        self.process.log.lose()
        self.process.start()


class Recaller(Liar):
    name = "recaller"
    about = "says again and again that it forgot its votes, and needs another view to vote in"
    evidence = ("oblivion was claimed", "vote in a later view")

    def begin(self) -> None:
        self.every(30 * MILLISECOND, self._claim)

    def _claim(self) -> None:
        standing = self.standing()
        if standing is not None:
            self.tell("oblivion was claimed")
            for node in self.others():
                self.now_send(node, wire.encode(wire.Recall(standing.epoch.number, standing.view + 3)))
