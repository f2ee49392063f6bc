"""Those who forget."""

from __future__ import annotations

from hivemind.protocols.machine import MILLISECOND
from hivemind.sim.adversaries.pbft.liar import Liar


class Forgetful(Liar):
    name = "forgetful"
    about = "loses its votes at each of many restarts, and says nothing of it"
    evidence = ("votes were forgotten",)

    def begin(self) -> None:
        self.every(350 * MILLISECOND, self._forget)

    def _forget(self) -> None:
        self.tell("votes were forgotten")
        self.process.crash()
        self.process.log.lose()
        self.process.start()
