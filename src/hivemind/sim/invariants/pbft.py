"""The rules of PBFT, from outside: what honest nodes execute, certify, say and settle.

agreement               two honest nodes never execute different batches at one sequence, nor get different states
order                   a node executes every sequence once, in order
validity                what is executed was wished for by whom it names
certificates            each decision, checkpoint and epoch is proved by a quorum of the voters of its epoch
no vote contradiction   no honest voter signs two different votes in one place, restarts or not
halted voting           who knows that it forgot votes says so and votes for nothing, until it is told that it may again
no false conviction     nobody honest is ever convicted, and what convicts holds for others
no false divergence     an honest node's state is the one that is certified
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Protocol

import msgspec

from hivemind.model.hive import Epoch
from hivemind.protocols.machine import Send, Verifier
from hivemind.protocols.pbft import events, wire
from hivemind.protocols.pbft.evidence import proven
from hivemind.protocols.pbft.replica import Replica
from hivemind.security.statement import Domain
from hivemind.sim.process import Process
from hivemind.sim.violation import demand


class Node(Protocol):
    process: Process


class Monitor:
    """`liars`: whose acts are no breach of any rule. `safe` is False where so many lie that nothing is promised but
    that they are found out."""

    def __init__(self, hive: str, verify: Verifier, first: Epoch, *, safe: bool) -> None:
        self._hive, self._verify, self._safe = hive, verify, safe
        self.changing: Callable[[str], bool] = lambda node: False
        """Whether that node has executed that other voters are agreed on, who do not decide yet."""
        self.liars: set[str] = set()
        self.wished: set[str] = set()
        """Ids of requests."""
        self.convictions: list[tuple[str, str]] = []
        """Who convicted whom."""
        self.epochs = {first.number: first}
        self.forks = 0
        self._batches: dict[int, tuple[int, tuple[str, ...]]] = {}
        self._states: dict[int, bytes] = {}
        self._next: dict[str, int] = {}
        self._told: dict[str, bytes] = {}
        self._votes: dict[tuple[Any, ...], bytes] = {}

    def honest(self, node: Node) -> bool:
        return node.process.node not in self.liars

    # -- what is executed --------------------------------------------------------------------------------------

    def executes(self, node: Node, effect: events.Execute) -> None:
        if not self.honest(node):
            return
        who, sequence = node.process.label, effect.sequence
        self._decision_holds(effect)
        batch = (effect.time, tuple(request.id for request in effect.requests))
        agreed = self._batches.setdefault(sequence, batch)
        if agreed != batch:
            self.forks += 1
            node.process.world.cover("fork")
            demand(not self._safe, "agreement", f"{who} executes {batch} at {sequence}, another {agreed}")
        for request in effect.requests:
            demand(request.id in self.wished, "validity", f"{who} executes {request.id}, nobody's wish")
        expected = self._next.get(node.process.node, sequence)
        demand(sequence == expected, "order", f"{who} executes {sequence} where {expected} is next")

    def forgot(self, node: Node, replica: Replica) -> None:
        """It starts without its votes, and knows that. In an epoch of others it has none."""
        role = replica.standing().role
        who = node.process.label
        demand(role in ("abstaining", "learner"), "halted voting", f"{who} forgot its votes and is a {role}")
        if role == "abstaining":
            node.process.world.cover("voting halted")

    def executed(self, node: Node, sequence: int, digest: bytes) -> None:
        if not self.honest(node):
            return
        self._next[node.process.node] = sequence + 1
        same = self._states.setdefault(sequence, digest) == digest
        demand(same or not self._safe, "agreement", f"{node.process.label} has another state at {sequence}")

    def restarted(self, node: str, sequence: int) -> None:
        """It has executed that much, says its disk."""
        self._next[node] = sequence + 1

    def installed(self, node: Node, certificate: wire.CheckpointCertificate) -> None:
        self.stable(node, certificate)
        self._next[node.process.node] = certificate.checkpoint.sequence + 1

    def _decision_holds(self, effect: events.Execute) -> None:
        certificate = effect.certificate
        body = wire.encode(wire.Commit(certificate.view, certificate.sequence, certificate.digest))
        self._quorum_signed(certificate.epoch, body, certificate.signatures, f"decision {effect.sequence}")
        proposal = wire.decode_proposal(effect.proposal)
        demand(
            certificate.sequence == effect.sequence
            and certificate.digest == wire.digest(effect.proposal)
            and proposal.requests == effect.requests,
            "certificates",
            f"what is executed at {effect.sequence} is not what was decided",
        )

    def _quorum_signed(self, number: int, body: bytes, signatures: wire.Signatures, what: str) -> None:
        epoch = self.epochs.get(number)
        demand(epoch is not None, "certificates", f"{what} is of an epoch {number} that nobody began")
        assert epoch is not None
        n = len(epoch.voters)
        wanted = next(q for q in range(1, n + 1) if 2 * q - n >= (n - 1) // 3 + 1)  # they share f+1
        covered = Domain("pbft", self._hive, number).covered(body)
        signers = {
            signer
            for signer, signature in signatures
            if signer in epoch.voters and self._verify(signer, covered, signature)
        }
        demand(len(signers) >= wanted, "certificates", f"{what} has {len(signers)} of {wanted} signatures")

    def settled(self, node: Node, effect: events.Settled) -> None:
        """What somebody was told, everybody will know, and the same."""
        known = self._told.setdefault(effect.request, effect.result)
        demand(known == effect.result, "exactly once", f"{effect.request[-6:]} has two results")

    def kept_all(self, node: Node, results: dict[str, bytes], *, but: Collection[str] = ()) -> None:
        """Nothing that anybody was told is lost, or otherwise, at the end. `but`: those of whom nothing is kept."""
        for request, told in self._told.items():
            if request.partition("/")[0] in but:
                continue
            demand(
                results.get(request) == told,
                "durable replies",
                f"{node.process.label} does not know of {request[-6:]} what somebody was told",
            )

    # -- checkpoints and epochs --------------------------------------------------------------------------------

    def stable(self, node: Node, certificate: wire.CheckpointCertificate) -> None:
        if not self.honest(node):
            return
        checkpoint = certificate.checkpoint
        self._quorum_signed(
            certificate.epoch,
            wire.encode(checkpoint),
            certificate.signatures,
            f"checkpoint {checkpoint.sequence}",
        )
        known = self._states.get(checkpoint.sequence, checkpoint.digest)
        demand(
            known == checkpoint.digest or not self._safe,
            "agreement",
            f"checkpoint {checkpoint.sequence} lies",
        )
        node.process.world.cover("stable checkpoint")

    def began(self, node: Node, effect: events.EpochBegan) -> None:
        if not self.honest(node):
            return
        certificate = effect.boundary.certificate
        body = wire.encode(certificate.checkpoint)
        self._quorum_signed(certificate.epoch, body, certificate.signatures, f"epoch {effect.epoch.number}")
        known = self.epochs.setdefault(effect.epoch.number, effect.epoch)
        demand(known == effect.epoch, "epoch chain", f"two epochs have the number {effect.epoch.number}")
        named = certificate.checkpoint.next
        demand(
            named is not None and named.epoch() == effect.epoch, "epoch chain", "the boundary names another"
        )
        node.process.world.cover("epoch began")

    # -- what is said ------------------------------------------------------------------------------------------

    def said(self, process: Process, send: Send) -> None:
        """Every message that leaves an honest node."""
        packet = wire.decode(send.message)
        if not isinstance(packet, wire.Said) or packet.statement.signer != process.node:
            return
        body = wire.decode_body(packet.statement)
        place = _place(packet.epoch, body)
        if place is None:
            return
        replica = process.machine
        if process.forgot and isinstance(replica, Replica):
            role = replica.standing().role
            demand(role != "abstaining", "halted voting", f"{process.label} abstains and says {body}")
        if isinstance(body, wire.NewView):
            self._covered_new_view(process, body)
        elif isinstance(body, wire.ViewChange) and self.changing(process.node):
            process.world.cover("view change while voters change")
        elif isinstance(body, wire.Prepare | wire.Commit) and body.view > 0:
            process.world.cover("vote in a later view")
        first = self._votes.setdefault((process.node, *place), packet.statement.body)
        demand(
            first == packet.statement.body,
            "no vote contradiction",
            f"{process.label} said {body} where it had said {msgspec.msgpack.decode(first)}",
        )

    def _covered_new_view(self, process: Process, body: wire.NewView) -> None:
        process.world.cover("new view")
        changes = [wire.decode_body(change) for change in body.changes]
        if any(isinstance(change, wire.ViewChange) and change.prepared for change in changes):
            process.world.cover("new view with prepared batches")

    def convicted(self, node: Node, effect: events.Convict) -> None:
        if not self.honest(node):
            return
        who = node.process.label
        node.process.world.note(who, "convicts", node.process.world.name(effect.culprit))
        node.process.world.cover("conviction")
        self.convictions.append((node.process.node, effect.culprit))
        guilty = effect.culprit in self.liars
        demand(guilty, "no false conviction", f"{who} convicts the honest {effect.culprit[:8]}")
        epoch = self.epochs.get(effect.evidence.epoch)
        found = proven(wire.encode(effect.evidence), self._hive, self._verify, epoch)
        demand(
            found == effect.culprit, "no false conviction", f"what convicts at {who} proves nothing to others"
        )

    def diverged(self, node: Node, effect: events.Diverged) -> None:
        node.process.world.cover("divergence")
        innocent = not self.honest(node) or not self._safe
        demand(innocent, "no false divergence", f"{node.process.label} at {effect.sequence}")


def _place(epoch: int, body: wire.Body) -> tuple[Any, ...] | None:
    """Where an honest voter says one thing only."""
    match body:
        case wire.PrePrepare() | wire.Prepare() | wire.Commit():
            return epoch, type(body).__name__, body.view, body.sequence
        case wire.Checkpoint():
            return epoch, "Checkpoint", body.sequence
        case wire.ViewChange() | wire.NewView():
            return epoch, type(body).__name__, body.view
        case _:
            return None
