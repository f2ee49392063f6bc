"""Those who lie while views change."""

from __future__ import annotations

from typing import Any

import msgspec

from hivemind.protocols.machine import MILLISECOND, Send
from hivemind.protocols.pbft import wire
from hivemind.sim.adversaries.pbft.liar import Liar


class Restless(Liar):
    """Lies in view changes, and sees to it that there are some, and that it is the primary of one."""

    same_voters = True

    @classmethod
    def liars(cls, nodes: Any, faulty: int) -> tuple[str, ...]:
        """The second: the first is made to give up, and it is the next primary."""
        return tuple(nodes[1 : 1 + faulty])

    def begin(self) -> None:
        """Those who lead before it are cut off for a while."""
        first, *rest = self.others()
        links = [(first, node) for node in (*rest, self.process.node)]

        def cut() -> None:
            for sender, receiver in links:
                self.process.network.cut(sender, receiver)

        def mend() -> None:
            for sender, receiver in links:
                self.process.network.mend(sender, receiver)

        self.world.at(self.span // 8, cut)
        self.world.at(self.span * 7 // 8, mend)


class FabricatedCertificates(Restless):
    name = "fabricated-certificates"
    about = "claims in VIEW-CHANGE to have prepared what nobody prepared"
    evidence = ("a certificate was fabricated", "vote in a later view")

    def says(self, send: Send, packet: wire.Said, body: wire.Body) -> list[Any]:
        if not isinstance(body, wire.ViewChange):
            return [send]
        self.tell("a certificate was fabricated")
        stable = body.stable.checkpoint.sequence if body.stable is not None else 0
        digest = wire.digest(b"nothing")
        signature = self.signed(packet.epoch, wire.Prepare(body.view, stable + 1, digest)).signature
        signers = tuple((node, signature) for node in self.others())
        forged = wire.PreparedCertificate(max(0, body.view - 1), stable + 1, digest, signature, signers)
        lie = msgspec.structs.replace(body, prepared=(forged,))
        return [self.said(send.to, packet.epoch, lie)]


class Amnesic(Restless):
    name = "leaves-out-prepared"
    about = "leaves out of its VIEW-CHANGE what it prepared"
    evidence = ("a preparation was left out", "vote in a later view")

    def says(self, send: Send, packet: wire.Said, body: wire.Body) -> list[Any]:
        if not isinstance(body, wire.ViewChange):
            return [send]
        self.tell("a preparation was left out")
        return [self.said(send.to, packet.epoch, msgspec.structs.replace(body, prepared=()))]


class OmittingNewView(Restless):
    name = "omitting-new-view"
    about = "a new primary that leaves prepared batches out of its NEW-VIEW"
    evidence = ("a new view was falsified",)

    def says(self, send: Send, packet: wire.Said, body: wire.Body) -> list[Any]:
        if not isinstance(body, wire.NewView):
            return [send]
        self.tell("a new view was falsified")
        return [self.said(send.to, packet.epoch, self.falsified(packet.epoch, body))]

    def falsified(self, epoch: int, body: wire.NewView) -> wire.NewView:
        proposals = body.proposals[1:] or (self._null(epoch, body.view, 10_000),)
        return msgspec.structs.replace(body, proposals=proposals)

    def _null(self, epoch: int, view: int, sequence: int) -> Any:
        return self.signed(epoch, wire.PrePrepare(view, sequence, wire.NULL_DIGEST))


class AlteringNewView(OmittingNewView):
    name = "altering-new-view"
    about = "a new primary that puts null requests in the place of prepared batches"

    def falsified(self, epoch: int, body: wire.NewView) -> wire.NewView:
        proposals = []
        for statement in body.proposals:
            proposal = wire.decode_body(statement)
            assert isinstance(proposal, wire.PrePrepare)
            other = wire.NULL_DIGEST if proposal.digest != wire.NULL_DIGEST else wire.digest(b"something")
            proposals.append(self.signed(epoch, wire.PrePrepare(body.view, proposal.sequence, other)))
        more = proposals or [self._null(epoch, body.view, 10_000)]
        return msgspec.structs.replace(body, proposals=tuple(more))


class ReusedChanges(OmittingNewView):
    name = "reused-changes"
    about = "a new primary that takes one VIEW-CHANGE for several, and old ones for new ones"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._kept: tuple[Any, ...] = ()

    def falsified(self, epoch: int, body: wire.NewView) -> wire.NewView:
        changes = self._kept or (body.changes[0],) * len(body.changes)
        self._kept = body.changes
        return msgspec.structs.replace(body, changes=changes)


class Storm(Liar):
    name = "view-change-storm"
    about = "asks for one new view after the other"
    evidence = ("a view change was asked for without need",)

    def begin(self) -> None:
        self._view = 0
        self.every(20 * MILLISECOND, self._ask)

    def _ask(self) -> None:
        standing = self.standing()
        if standing is None:
            return
        self._view += 1 + self.dice.randrange(3)
        self.tell("a view change was asked for without need")
        body = wire.ViewChange(self._view, None, ())
        for node in self.others():
            self.now_send(node, self.said(node, standing.epoch.number, body).message)
