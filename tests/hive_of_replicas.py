"""Several copies of the shared store over a network in memory, which fails as it is told: for the machine alone."""

from __future__ import annotations

import hashlib
import random
from typing import Any

from hivemind.protocols.autobee import steps, wire
from hivemind.protocols.autobee.entry import Entry
from hivemind.protocols.autobee.log import BODY, Piece, cleared, cost, refined
from hivemind.protocols.autobee.replica import Replica
from hivemind.protocols.autobee.serving import answer
from hivemind.protocols.machine import MILLISECOND, SECOND, Received, Send, Tick

HIVE = "hive"
START = 1_700_000_000_000


class Stamp:
    """A stand-in for a key: what it signs only the name proves."""

    def __init__(self, public: str) -> None:
        self.public = public

    def sign(self, message: bytes) -> bytes:
        return stamp(self.public, message)


def stamp(public: str, message: bytes) -> bytes:
    return hashlib.blake2b(public.encode() + message, digest_size=32).digest()


def verify(public: str, message: bytes, signature: bytes) -> bool:
    return stamp(public, message) == signature


def name(index: int) -> str:
    return hashlib.blake2b(str(index).encode(), digest_size=32).hexdigest()


class Disk:
    """What was kept. `crash` in the simulation is going on with this alone."""

    def __init__(self) -> None:
        self.logs: dict[str, steps.Restored] = {}

    def perform(self, effect: Any) -> None:
        match effect:
            case steps.Store():
                old = self.logs.get(effect.writer)
                kept = [] if old is None or effect.whole else old.pieces
                self._set(
                    effect.writer, pieces=[*kept, *effect.pieces], head=effect.head, behind=effect.behind
                )
            case steps.Note():
                self._set(effect.writer, ack=effect.ack)
            case steps.Convict():
                self._set(effect.writer, evidence=effect.evidence)
            case steps.Refine():
                self._set(effect.writer, pieces=refined(self.logs[effect.writer].pieces, effect.pieces))
            case steps.Drop():
                self.logs.pop(effect.writer, None)

    def _set(self, writer: str, **changes: Any) -> None:
        old = self.logs.get(writer) or steps.Restored(writer, [], None)
        fields = {field: getattr(old, field) for field in old.__struct_fields__}
        self.logs[writer] = steps.Restored(**{**fields, **changes})

    def clear(self, writer: str, upto: int, keep: frozenset[int]) -> int:
        pieces = cleared(self.logs[writer].pieces, lambda sequence: sequence > upto or sequence in keep)
        self._set(writer, pieces=pieces)
        return cost(pieces)

    def bodies(self, writer: str) -> int:
        kept = self.logs.get(writer)
        return sum(piece.level == BODY for piece in kept.pieces) if kept else 0


class Node:
    def __init__(self, world: World, public: str) -> None:
        self.world, self.public, self.disk = world, public, Disk()
        self.up = False
        self.shown: dict[str, bytes] = {}
        """As somebody sees it who only hears of changes."""
        self.convicted: list[str] = []
        self.exposed = False
        """It has heard that others can convict it."""
        self.applied = 0
        self.fuse: int | None = None
        """After so many more effects it dies."""

    def start(self) -> None:
        self.replica = Replica(
            hive=HIVE,
            signer=Stamp(self.public),
            verify=verify,
            wall=lambda now: START + now // MILLISECOND,
            settings=self.world.settings,
            restored=list(self.disk.logs.values()),
        )
        self.up = True
        self.shown = {e.key: e.value for e in self.replica.order.view if e.value is not None}
        self.tell(steps.Admit(tuple(self.world.admitted)))
        for peer in self.world.nodes:
            if self.world.linked(self.public, peer):
                self.tell(steps.Linked(peer, True))
                self.world.nodes[peer].tell(steps.Linked(self.public, True))

    def crash(self) -> None:
        self.up = False
        for peer in self.world.nodes.values():
            if peer.up:
                peer.tell(steps.Linked(self.public, False))

    def tell(self, event: Any) -> None:
        if not self.up:
            return
        for effect in self.replica.handle(event, self.world.now):
            if self.fuse is not None:
                self.fuse -= 1
                if self.fuse < 0:
                    self.fuse = None
                    self.crash()
            if not self.up:
                return
            match effect:
                case Send():
                    self.world.send(self.public, effect.to, effect.message)
                case steps.Serve():
                    kept = self.disk.logs.get(effect.writer)
                    chunk = answer(kept, effect) if kept else None
                    if chunk:
                        self.world.send(self.public, effect.to, wire.encode(chunk))
                case steps.Changed():
                    for entry in effect.entries:
                        self.applied += 1
                        if entry.value is None:
                            self.shown.pop(entry.key, None)
                        else:
                            self.shown[entry.key] = entry.value
                case steps.Exposed():
                    self.exposed = True
                case steps.Convict():
                    self.disk.perform(effect)
                    self.convicted.append(effect.writer)
                case _:
                    self.disk.perform(effect)
                    if isinstance(effect, steps.Store) and effect.writer == self.public:
                        self.tell(steps.Stored())
        if not self.up:
            return
        self.replica.check()
        assert self.shown == self.contents(), "who only hears of changes sees something else"

    def write(self, batch: dict[str, bytes | None]) -> None:
        self.tell(steps.Write(tuple(batch.items()), START + self.world.now // MILLISECOND))

    def contents(self) -> dict[str, bytes]:
        return {e.key: e.value for e in self.replica.order.view if e.value is not None}

    def entries(self) -> list[Entry]:
        return list(self.replica.order.view)

    def compact(self) -> None:
        for writer in self.replica.writers:
            if writer in self.disk.logs:
                upto, keep = self.replica.clearable(writer)
                self.tell(steps.Cleared(writer, self.disk.clear(writer, upto, keep)))


class World:
    def __init__(self, size: int, seed: int = 0, settings: steps.Settings | None = None) -> None:
        self.dice, self.now = random.Random(seed), 0
        self.settings = settings or steps.Settings()
        self.admitted = [name(index) for index in range(size)]
        self.cut: set[tuple[str, str]] = set()
        self.loss = 0.0
        self.flying: list[tuple[int, int, str, str, bytes]] = []
        self.sent = 0
        self.nodes: dict[str, Node] = {}
        for public in self.admitted:
            self.nodes[public] = Node(self, public)
        for node in self.nodes.values():
            node.start()
        self.all = list(self.nodes.values())

    def linked(self, one: str, other: str) -> bool:
        both = one != other and self.nodes[one].up and self.nodes[other].up
        return both and (one, other) not in self.cut and (other, one) not in self.cut

    def send(self, sender: str, to: str, message: bytes) -> None:
        self.sent += 1
        if to in self.nodes and self.linked(sender, to) and self.dice.random() >= self.loss:
            self.flying.append((self.now + self.dice.randrange(1, 3_000), self.sent, sender, to, message))

    def part(self, group: list[Node]) -> None:
        """From all others."""
        inside = {node.public for node in group}
        for one in self.nodes:
            for other in self.nodes:
                if (one in inside) != (other in inside) and self.linked(one, other):
                    self.cut.add((one, other))
                    self.nodes[one].tell(steps.Linked(other, False))
                    self.nodes[other].tell(steps.Linked(one, False))

    def heal(self) -> None:
        cut, self.cut, self.loss = self.cut, set(), 0.0
        for one, other in sorted(cut):
            if self.linked(one, other):
                self.nodes[one].tell(steps.Linked(other, True))
                self.nodes[other].tell(steps.Linked(one, True))

    def run(self, seconds: float) -> None:
        until = self.now + int(seconds * SECOND)
        while True:
            arriving = min(self.flying, default=None)
            timers = [
                (max(self.now, deadline), node.public)
                for node in self.nodes.values()
                if node.up and (deadline := node.replica.deadline()) is not None
            ]
            timer = min(timers, default=None)
            if arriving is not None and (timer is None or arriving[0] <= timer[0]):
                if arriving[0] > until:
                    break
                self.flying.remove(arriving)
                self.now = max(self.now, arriving[0])
                if self.linked(arriving[2], arriving[3]):
                    self.nodes[arriving[3]].tell(Received(arriving[2], arriving[4]))
            elif timer is not None and timer[0] <= until:
                self.now = timer[0]
                self.nodes[timer[1]].tell(Tick())
            else:
                break
        self.now = until

    def agree(self) -> dict[str, bytes]:
        """All that are up see the same; what."""
        up = [node for node in self.all if node.up]
        digests = {node.replica.order.view.digest() for node in up}
        assert len(digests) == 1, [node.contents() for node in up]
        return up[0].contents()


def nodes_of(pieces: list[Piece]) -> int:
    return sum(piece.level != BODY for piece in pieces)
