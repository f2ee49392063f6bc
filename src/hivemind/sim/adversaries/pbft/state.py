"""Those who lie about state."""

from __future__ import annotations

from typing import Any

import msgspec

from hivemind.protocols.machine import Send
from hivemind.protocols.pbft import wire
from hivemind.sim.adversaries.pbft.liar import Liar
from hivemind.sim.hosts.pbft.application import Application, Executing

_NOBODYS = (wire.digest(b"one"), wire.digest(b"other"))


class LyingCheckpoint(Liar):
    name = "lying-checkpoint"
    about = (
        "signs checkpoints of states that nobody has, another one to each, and before anybody can have one"
    )
    evidence = ("a checkpoint was false",)
    convicts = True

    def says(self, send: Send, packet: wire.Said, body: wire.Body) -> list[Any]:
        """Early, because what comes after a checkpoint is stable nobody needs to look at."""
        if isinstance(body, wire.Commit):
            self.tell("a checkpoint was false")
            return [
                self._false(send, packet, wire.Checkpoint(body.sequence, digest)) for digest in _NOBODYS
            ] + [send]
        if isinstance(body, wire.Checkpoint):
            return [self._false(send, packet, body), send]
        return [send]

    def _false(self, send: Send, packet: wire.Said, body: wire.Checkpoint) -> Send:
        digest = wire.digest(body.digest + send.to.encode())
        return self.said(send.to, packet.epoch, msgspec.structs.replace(body, digest=digest))


class CorruptState(Liar):
    name = "corrupt-state"
    about = "gives states that are not what was certified"
    evidence = ("corrupt state refused", "state installed")

    def begin(self) -> None:
        """The last node sleeps until it is far behind; in this world nobody fetches many decisions one by one."""
        self.site.corrupts = lambda state: state[:-1] + bytes([state[-1] ^ 1])
        sleeper = list(self.site.neighbours())[-1]
        self.world.at(100_000, sleeper.process.crash)
        self.world.at(self.span * 9 // 10, sleeper.process.start)


class DivergentExecution(Liar):
    name = "divergent-execution"
    about = "executes something else than was agreed"
    evidence = ("executed something else",)

    def begin(self) -> None:
        self.site.diverges = self._diverge

    def _diverge(self, application: Executing) -> None:
        assert isinstance(application, Application)
        application.values["k0"] = "mine"
        self.tell("executed something else")
