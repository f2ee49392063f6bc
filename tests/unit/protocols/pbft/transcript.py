"""Scenarios as text: commands, and below each what it made the nodes do.

    > submit B p/1            somebody at B wants this ordered (a third word is its body)
    > settle                  until nothing is under way
    > run 3s                  lets time pass, each timer at its time
    > lose A>C A>D            messages on these ways are lost; `A>*`, `*>A`; `prepare:A>*` only those of a kind
    > heal                    nothing is lost any more
    > crash B / restart B     what was not durable is gone
    > forget B                its votes are gone, too, when it starts again
    > lie D                   its states are wrong from now on
    > forgetful A             it does not keep executed decisions for others
    > forge A>B,C pre-prepare 0 1 p/1   says this, with A's key; likewise prepare, commit, checkpoint
    > standing                where each node stands
    > verbose / quiet         whether each message is told, or only what nodes conclude

Run the tests with REWRITE=1 to write what happens into the files, and review the difference.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hivemind.model.hive import Epoch
from hivemind.protocols.machine import MILLISECOND, SECOND, Persist, Send
from hivemind.protocols.pbft import wire
from hivemind.protocols.pbft.durable import decode_records
from hivemind.protocols.pbft.events import (
    Convict,
    Diverged,
    Effect,
    EpochBegan,
    Execute,
    FetchState,
    Refused,
    Settled,
    Stable,
)
from hivemind.protocols.pbft.evidence import proven
from hivemind.protocols.pbft.settings import Settings
from hivemind.protocols.pbft.signatures import Signatures
from unit.protocols.pbft.world import HIVE, Key, Node, World, verify

_QUIET = (wire.Status, wire.Wish, wire.Recall, wire.Recalled)
_KINDS: dict[str, type[Any]] = {
    "pre-prepare": wire.PrePrepare,
    "prepare": wire.Prepare,
    "commit": wire.Commit,
    "checkpoint": wire.Checkpoint,
    "view-change": wire.ViewChange,
    "new-view": wire.NewView,
    "reply": wire.Reply,
    "wish": wire.Wish,
    "chain": wire.Chain,
    "stable": wire.Stable,
    "decisions": wire.Decisions,
    "bodies": wire.Bodies,
    "accused": wire.Accused,
}


class Transcript:
    def __init__(self, first: str) -> None:
        """`first`: `nodes A B C D learners L set log=8 …`."""
        words = first.split()
        lists: dict[str, list[str]] = {"nodes": [], "learners": [], "set": []}
        for word in words:
            if word in lists:
                current = lists[word]
            else:
                current.append(word)
        settings = {key: int(value) for key, value in (word.split("=") for word in lists["set"])}
        self.world = World(lists["nodes"], learners=lists["learners"], settings=Settings(**settings))
        self.lines: list[str] = []
        self._verbose = False
        self._lost: list[tuple[str, str, str]] = []
        self._names = {wire.NULL_DIGEST: "null"}
        self.world.lost = self._loses
        for node in self.world.nodes.values():
            _watch(node, self)

    def do(self, command: str) -> list[str]:
        self.lines = []
        verb, *words = command.split()
        getattr(self, f"_{verb}")(*words)
        return _shortened(self.lines)

    # Commands.

    def _start(self) -> None:
        self.world.start()
        self.world.settle()

    def _submit(self, name: str, id: str, *body: str) -> None:
        self.world.submit(name, id, " ".join(body).encode() or b"x")

    def _settle(self) -> None:
        self.world.settle()

    def _run(self, duration: str) -> None:
        amount, unit = (duration[:-2], MILLISECOND) if duration.endswith("ms") else (duration[:-1], SECOND)
        self.world.run(int(amount) * unit)

    def _lose(self, *ways: str) -> None:
        for way in ways:
            kind, _, link = way.rpartition(":")
            sender, to = link.split(">")
            for one in to.split(","):
                self._lost.append((kind, sender, one))

    def _heal(self) -> None:
        self._lost.clear()

    def _crash(self, *names: str) -> None:
        for name in names:
            self.world.nodes[name].crash()

    def _restart(self, *names: str) -> None:
        for name in names:
            self.world.nodes[name].start()

    def _forget(self, name: str) -> None:
        node = self.world.nodes[name]
        node.crash()
        node.records = []
        node.start(amnesiac=True)

    def _lie(self, name: str) -> None:
        self.world.nodes[name].lie = True

    def _honest(self, name: str) -> None:
        self.world.nodes[name].lie = False

    def _skew(self, name: str, milliseconds: str) -> None:
        self.world.nodes[name].skew = int(milliseconds)

    def _forgetful(self, *names: str) -> None:
        for name in names:
            self.world.nodes[name].keeps = False

    def _verbose_on(self) -> None:
        self._verbose = True

    def _quiet(self) -> None:
        self._verbose = False

    def _forge(self, link: str, kind: str, view: str, sequence: str, *ids: str) -> None:
        """With the signer's own key, over its own channel; ids make the proposal."""
        signer, to = link.split(">")
        time = self.world.nodes[signer].wall(self.world.now)
        requests = tuple(wire.Request(id, "", b"x") for id in ids)
        data = wire.encode(wire.Proposal(time, requests))
        digest = wire.digest(data)
        self._names[digest] = "+".join(ids)
        body: wire.Body = (
            wire.Checkpoint(int(sequence), digest)
            if kind == "checkpoint"
            else _KINDS[kind](int(view), int(sequence), digest)
        )
        statement = Signatures(HIVE, verify).sign(Key(signer), self.world.first.number, body)
        attached = data if kind == "pre-prepare" else b""
        for name in to.split(","):
            self.world.wire.append((signer, name, wire.encode(wire.Said(0, statement, attached))))

    def _standing(self) -> None:
        for name, node in self.world.nodes.items():
            if node.replica is None:
                self.lines.append(f"{name} is down")
                continue
            at = node.replica.standing()
            phase = "" if at.active else ", between views"
            rest = f", {at.pending} pending" if at.pending else ""
            self.lines.append(
                f"{name} {at.role}, epoch {at.epoch.number} view {at.view}{phase}: "
                f"executed {at.executed}, stable {at.stable}{rest}"
            )

    # What happens.

    def _loses(self, sender: str, to: str, message: bytes) -> bool:
        kind = _kind(message)
        return any(
            of in ("", kind) and one in (sender, "*") and other in (to, "*") for of, one, other in self._lost
        )

    def tell(self, name: str, effect: Effect) -> None:
        if isinstance(effect, Send):
            self._tell_message(name, effect)
        elif isinstance(effect, Persist):
            if self._verbose and not effect.replaces:
                kept = ", ".join(type(record).__name__ for record in decode_records([effect.record]))
                self.lines.append(f"{name} keeps {kept}")
        else:
            said = self._concluded(effect)
            if said:
                self.lines.append(f"{name} {said}")

    def _concluded(self, effect: Effect) -> str:
        if isinstance(effect, Execute):
            what = " ".join(request.id for request in effect.requests) or "nothing"
            return f"executes {effect.sequence}: {what}"
        if isinstance(effect, Stable):
            return f"stable at {effect.certificate.checkpoint.sequence}"
        if isinstance(effect, EpochBegan):
            return f"begins {_epoch(effect.epoch)}"
        if isinstance(effect, FetchState):
            return f"fetches state {effect.certificate.checkpoint.sequence} of {' '.join(effect.sources)}"
        if isinstance(effect, Settled):
            return f"settles {effect.request} at {effect.result.decode()}"
        if isinstance(effect, Refused):
            return f"refuses {effect.request}: {effect.reason}"
        if isinstance(effect, Diverged):
            return f"has diverged at {effect.sequence}"
        assert isinstance(effect, Convict)
        evidence = effect.evidence
        first, _, _ = self._said(wire.Said(evidence.epoch, evidence.first)).partition(" ")
        holds = proven(wire.encode(evidence), HIVE, verify, self.world.first) == effect.culprit
        return f"convicts {effect.culprit} of two of {first}" if holds and evidence.second else (
            f"convicts {effect.culprit} of a false {first}" if holds else "convicts without proof"
        )  # fmt: skip

    def _tell_message(self, name: str, effect: Send) -> None:
        packet = wire.decode(effect.message)
        if isinstance(packet, _QUIET):
            return
        said = self._said(packet)
        loud = said.startswith(("VIEW-CHANGE", "NEW-VIEW"))
        if not (self._verbose or loud):
            return
        arrow = "-x" if self._loses(name, effect.to, effect.message) else "->"
        head, tail = f"{name} {arrow}", f": {said}"
        if self.lines and self.lines[-1].startswith(head) and self.lines[-1].endswith(tail):
            self.lines[-1] = f"{self.lines[-1].removesuffix(tail)} {effect.to}{tail}"
        else:
            self.lines.append(f"{head} {effect.to}{tail}")

    def _said(self, packet: wire.Packet) -> str:
        if not isinstance(packet, wire.Said):
            return type(packet).__name__
        body = wire.decode_body(packet.statement)
        if isinstance(body, wire.Vote):
            if packet.attached:
                ids = [request.id for request in wire.decode_proposal(packet.attached).requests]
                self._names[body.digest] = " ".join(ids) or "nothing"
            kind = {"PrePrepare": "PRE-PREPARE"}.get(type(body).__name__, type(body).__name__.upper())
            return f"{kind} {body.view}/{body.sequence} {self._names.get(body.digest, '?')}"
        if isinstance(body, wire.Checkpoint):
            following = f", then {_epoch(body.next.epoch())}" if body.next else ""
            return f"CHECKPOINT {body.sequence}{following}"
        if isinstance(body, wire.ViewChange):
            stable = body.stable.checkpoint.sequence if body.stable else "-"
            prepared = [f"{one.view}/{one.sequence} {self._name(one.digest)}" for one in body.prepared]
            return f"VIEW-CHANGE {body.view} stable {stable} P [{', '.join(prepared)}]"
        if isinstance(body, wire.NewView):
            offers = [wire.decode_body(statement) for statement in body.proposals]
            of = " ".join(statement.signer for statement in body.changes)
            proposals = [
                f"{offer.sequence} {self._name(offer.digest)}"
                for offer in offers
                if isinstance(offer, wire.PrePrepare)
            ]
            return f"NEW-VIEW {body.view} V [{of}] O [{', '.join(proposals)}]"
        return f"REPLY {' '.join(id for id, _ in body.results)}"

    def _name(self, digest: bytes) -> str:
        return self._names.get(digest, "?")


def _watch(node: Node, transcript: Transcript) -> None:
    inner = node.perform

    def perform(effect: Effect) -> None:
        transcript.tell(node.name, effect)
        inner(effect)

    node.perform = perform  # type: ignore[method-assign]


def _shortened(lines: list[str]) -> list[str]:
    """Equal lines of several nodes become one, and so do runs of empty batches."""
    out: list[str] = []
    empty: dict[str, list[str]] = {}
    for line in [*lines, ""]:
        name, _, rest = line.partition(" ")
        if rest.startswith("executes") and rest.endswith(": nothing"):
            empty.setdefault(name, []).append(rest.removesuffix(": nothing").removeprefix("executes "))
            continue
        told = [f"{one} executes {_range(numbers)}: nothing" for one, numbers in sorted(empty.items())]
        empty.clear()
        for one in [*told, line]:
            who, _, what = one.partition(" ")
            names, _, same = out[-1].partition(" | ") if out and " | " in out[-1] else ("", "", "")
            if what and what == same and "->" not in what and who not in names.split():
                out[-1] = f"{names} {who} | {what}"
            elif one:
                out.append(f"{who} | {what}" if _concludes(what) else one)
    return [line.replace(" | ", " ") for line in out]


def _concludes(what: str) -> bool:
    return what.startswith(("executes", "stable", "begins", "convicts", "has diverged"))


def _range(numbers: list[str]) -> str:
    return numbers[0] if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def _kind(message: bytes) -> str:
    packet: Any = wire.decode(message)
    told = wire.decode_body(packet.statement) if isinstance(packet, wire.Said) else packet
    return next((kind for kind, of in _KINDS.items() if type(told) is of), "")


def _epoch(epoch: Epoch) -> str:
    return f"epoch {epoch.number} at {epoch.since} of {' '.join(epoch.voters)}"


def played(lines: Iterable[str]) -> list[str]:
    """The text again, with what really happens below each command."""
    out: list[str] = []
    transcript: Transcript | None = None
    for line in lines:
        if line.startswith("nodes "):
            transcript = Transcript(line)
            out.append(line)
            out += [f"    {told}" for told in transcript.do("start")]
        elif line.startswith("> "):
            assert transcript is not None, "a scenario begins with its nodes"
            out.append(line)
            command = line[2:].replace("verbose", "verbose_on")
            out += [f"    {told}" for told in transcript.do(command)]
        elif not line.startswith("    "):
            out.append(line)
    return out
