"""Voters that vote for what they should not."""

from __future__ import annotations

from typing import Any

from hivemind.protocols.machine import Send
from hivemind.protocols.pbft import wire
from hivemind.sim.adversaries.pbft.liar import Liar

Plain = wire.Prepare | wire.Commit


class DoubleVoter(Liar):
    name = "double-voter"
    about = "votes for what was proposed and, in the same place, for something else"
    evidence = ("two votes in one place",)
    convicts = True

    @classmethod
    def liars(cls, nodes: Any, faulty: int) -> tuple[str, ...]:
        """A backup: primaries do not prepare."""
        return tuple(nodes[-faulty:])

    def says(self, send: Send, packet: wire.Said, body: wire.Body) -> list[Any]:
        if not isinstance(body, Plain):
            return [send]
        self.tell("two votes in one place")
        other = type(body)(body.view, body.sequence, wire.digest(body.digest))
        return [send, self.said(send.to, packet.epoch, other)]


class StaleVoter(Liar):
    name = "stale-voter"
    about = "votes in views that are over, and in those to come"
    evidence = ("a vote in another view",)

    def says(self, send: Send, packet: wire.Said, body: wire.Body) -> list[Any]:
        if not isinstance(body, Plain):
            return [send]
        self.tell("a vote in another view")
        views = (max(0, body.view - 1), body.view + 1, body.view + 1_000_000)
        return [
            send,
            *(
                self.said(send.to, packet.epoch, type(body)(view, body.sequence, body.digest))
                for view in views
            ),
        ]


class EarlyCommitter(Liar):
    name = "early-committer"
    about = "commits whatever is proposed, prepared or not, and checkpoints it"
    evidence = ("a commit without a preparation",)

    def says(self, send: Send, packet: wire.Said, body: wire.Body) -> list[Any]:
        if not isinstance(body, wire.Prepare):
            return [send]
        self.tell("a commit without a preparation")
        commit = wire.Commit(body.view, body.sequence, body.digest)
        return [send, self.said(send.to, packet.epoch, commit)]

    @classmethod
    def liars(cls, nodes: Any, faulty: int) -> tuple[str, ...]:
        return tuple(nodes[-faulty:])
