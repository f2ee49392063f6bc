"""Primaries that propose what none should."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hivemind.protocols.machine import MILLISECOND, Received, Send
from hivemind.protocols.pbft import wire
from hivemind.sim.adversaries.pbft.liar import Liar
from hivemind.sim.process import Process


class Equivocator(Liar):
    """Says one thing to some and another to the rest, and votes for both: a second proposal for each first one,
    made of it by a rule that all conspirators know."""

    convicts = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._second: dict[bytes, bytes] = {}
        """Digest of a first proposal -> that of the second."""
        self._told: dict[bytes, set[bool]] = {}

    def hears(self, process: Process, event: Any) -> Any | None:
        """What a conspirator proposes, it knows the other side of."""
        if isinstance(event, Received):
            self._learn(event.message)
        return event

    def _learn(self, message: bytes) -> None:
        try:
            packet = wire.decode(message)
        except wire.Malformed:
            return
        if isinstance(packet, wire.Said) and packet.attached:
            self._other(packet.attached)

    def _other(self, proposal: bytes) -> bytes:
        first = wire.decode_proposal(proposal)
        second = wire.encode(wire.Proposal(first.time + 1, tuple(reversed(first.requests))))
        self._second[wire.digest(proposal)] = wire.digest(second)
        return second

    def deceived(self, to: str) -> bool:
        """Whether it is told the second story."""
        others = self.others()
        return to in others[len(others) // 2 :]

    def says(self, send: Send, packet: wire.Said, body: wire.Body) -> list[Any]:
        if isinstance(body, wire.PrePrepare) and packet.attached:
            second = self._other(packet.attached)
            self._count(body.digest, self.deceived(send.to))
            if self.deceived(send.to):
                lie = wire.PrePrepare(body.view, body.sequence, wire.digest(second))
                return [self.said(send.to, packet.epoch, lie, second)]
        elif isinstance(body, wire.Prepare | wire.Commit) and self.deceived(send.to):
            digest = self._second.get(body.digest)
            if digest is not None:
                return [self.said(send.to, packet.epoch, type(body)(body.view, body.sequence, digest))]
        return [send]

    def _count(self, digest: bytes, second: bool) -> None:
        told = self._told.setdefault(digest, set())
        told.add(second)
        if len(told) == 2:
            self.tell("equivocation was sent to two honest voters")


class EquivocatingPrimary(Equivocator):
    name = "equivocating-primary"
    about = "proposes two batches for one sequence, one to each half"
    evidence = ("equivocation was sent to two honest voters",)


class EquivocatingToOne(Equivocator):
    name = "equivocating-to-one"
    about = "proposes two batches for one sequence, the second to a single voter"
    evidence = ("equivocation was sent to two honest voters",)

    def deceived(self, to: str) -> bool:
        return to in self.others()[-1:]


class Conspiracy(Equivocator):
    name = "conspiracy"
    about = "f of seven equivocate together, primary and helper telling each half the same story"
    evidence = ("equivocation was sent to two honest voters",)
    nodes = 7

    def deceived(self, to: str) -> bool:
        others = [node for node in self.others() if node not in self.liars(self.others(), 1)]
        return to in others[len(others) // 2 :]


class Majority(Equivocator):
    name = "majority"
    about = "more than f of four equivocate together: they can fork the order, and must be found out"
    evidence = ("equivocation was sent to two honest voters", "fork")
    nodes = 4
    beyond = True

    def deceived(self, to: str) -> bool:
        """The last honest one; liars are the first of the voters and tell each other the truth."""
        return to in self.others()[-1:]

    def passes(self, send: Send, packet: wire.Packet) -> list[Any]:
        return [send]


class SkippingPrimary(Liar):
    name = "skipping-primary"
    about = "leaves out sequences"
    evidence = ("sequences were skipped",)

    def says(self, send: Send, packet: wire.Said, body: wire.Body) -> list[Any]:
        if not isinstance(body, wire.PrePrepare | wire.Commit) or not self.is_primary():
            return [send]
        self.tell("sequences were skipped")
        lie = type(body)(body.view, body.sequence + 2, body.digest)
        return [self.said(send.to, packet.epoch, lie, packet.attached)]


class ExhaustingPrimary(Liar):
    name = "exhausting-primary"
    about = "proposes empty batches up to the high watermark and beyond it"
    evidence = ("the window was exhausted",)

    def begin(self) -> None:
        self.every(150 * MILLISECOND, self._exhaust)

    def _exhaust(self) -> None:
        standing = self.standing()
        if standing is None or not self.is_primary() or not standing.active:
            return
        self.tell("the window was exhausted")
        empty = wire.encode(wire.Proposal(self.site.wall(self.process.now)))
        for sequence in (*range(standing.executed + 1, standing.executed + 80), 2**40):
            body = wire.PrePrepare(standing.view, sequence, wire.digest(empty))
            statement = self.signed(standing.epoch.number, body)
            message = wire.encode(wire.Said(standing.epoch.number, statement, empty))
            for node in self.others():
                self.now_send(node, message)


class PartialPrimary(Liar):
    name = "partial-primary"
    about = "tells its proposals to too few"
    evidence = ("a proposal was kept from somebody",)

    def says(self, send: Send, packet: wire.Said, body: wire.Body) -> list[Any]:
        if isinstance(body, wire.PrePrepare) and send.to in self._left_out():
            self.tell("a proposal was kept from somebody")
            return []
        return [send]

    def _left_out(self) -> Sequence[str]:
        others = self.others()
        return others[: max(1, len(others) // 2)]


class TimeTraveller(Liar):
    name = "time-traveller"
    about = "proposes times that are hours off, either way"
    evidence = ("a proposal was of another time",)

    def says(self, send: Send, packet: wire.Said, body: wire.Body) -> list[Any]:
        if not isinstance(body, wire.PrePrepare) or not packet.attached:
            return [send]
        proposal = wire.decode_proposal(packet.attached)
        off = 3_600_000 if body.sequence % 2 else -3_600_000
        lie = wire.encode(wire.Proposal(max(0, proposal.time + off), proposal.requests))
        self.tell("a proposal was of another time")
        return [
            self.said(send.to, packet.epoch, wire.PrePrepare(body.view, body.sequence, wire.digest(lie)), lie)
        ]


class InventingPrimary(Liar):
    name = "inventing-primary"
    about = "proposes wishes that nobody had, and wishes altered on their way"
    evidence = ("an invented wish was proposed",)

    def says(self, send: Send, packet: wire.Said, body: wire.Body) -> list[Any]:
        if not isinstance(body, wire.PrePrepare) or not packet.attached:
            return [send]
        proposal = wire.decode_proposal(packet.attached)
        altered = tuple(
            wire.Request(one.id, one.client, one.body.replace(b"v", b"w")) for one in proposal.requests
        )
        invented = wire.Request(f"{self.key.public}/x{body.sequence}", "", b"\x92\x94nothing")
        lie = wire.encode(wire.Proposal(proposal.time, (*altered, invented)))
        self.tell("an invented wish was proposed")
        return [
            self.said(send.to, packet.epoch, wire.PrePrepare(body.view, body.sequence, wire.digest(lie)), lie)
        ]


class RepeatingPrimary(Liar):
    name = "repeating-primary"
    about = "proposes what was executed before once more, and the same wish twice in a batch"
    evidence = ("an executed wish was proposed again",)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._proposed: list[wire.Request] = []

    def says(self, send: Send, packet: wire.Said, body: wire.Body) -> list[Any]:
        if not isinstance(body, wire.PrePrepare) or not packet.attached:
            return [send]
        proposal = wire.decode_proposal(packet.attached)
        old = [one for one in self._proposed if self.site.outcome(one.id) is not None][-1:]
        self._proposed += [one for one in proposal.requests if one not in self._proposed]
        if not old and not proposal.requests:
            return [send]
        self.tell("an executed wish was proposed again")
        again = (*proposal.requests, *(old or proposal.requests[:1]))
        lie = wire.encode(wire.Proposal(proposal.time, again))
        return [
            self.said(send.to, packet.epoch, wire.PrePrepare(body.view, body.sequence, wire.digest(lie)), lie)
        ]
