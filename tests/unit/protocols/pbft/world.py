"""Nodes in one process: a network that does what it is told, disks that forget what was not synced, one clock.

Nothing here decides anything about agreement; whatever a scenario or a property wants to happen, it says.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from typing import Any

from hivemind.model.hive import Epoch
from hivemind.protocols.machine import MILLISECOND, Micros, Persist, Received, Send, Tick
from hivemind.protocols.pbft import limits
from hivemind.protocols.pbft.epochs import Epochs
from hivemind.protocols.pbft.events import (
    Convict,
    Diverged,
    Effect,
    EpochBegan,
    Event,
    Execute,
    Executed,
    FetchState,
    Position,
    Refused,
    Settled,
    Stable,
    StateFailed,
    StateInstalled,
    Submitted,
)
from hivemind.protocols.pbft.replica import Replica
from hivemind.protocols.pbft.settings import Settings
from hivemind.protocols.pbft.signatures import Signatures
from hivemind.protocols.pbft.wire import (
    Boundary,
    CheckpointCertificate,
    CommitCertificate,
    Decided,
    Proposal,
    Request,
    decode_proposal,
)

HIVE = "hive/0"
START = 1_000_000
"""Milliseconds since 1970 when the machine's clock is 0."""


class Key:
    """A stand-in for Ed25519: whoever knows the name can sign, so nobody here may."""

    def __init__(self, name: str) -> None:
        self.public = name

    def sign(self, message: bytes) -> bytes:
        return hashlib.blake2b(message, key=self.public.encode(), digest_size=64).digest()


def verify(public: str, message: bytes, signature: bytes) -> bool:
    return Key(public).sign(message) == signature


def signatures() -> Signatures:
    return Signatures(HIVE, verify)


def epoch(voters: Sequence[str], *, number: int = 0, since: int = 1) -> Epoch:
    return Epoch(number=number, since=since, voters=tuple(sorted(voters)))


class Node:
    """A host with a tiny state: a chain of digests, results, timers and the next epoch.

    Bodies of requests: `epoch A,B,C` agrees on voters, `due MS` sets a timer; the first batch at or after it clears
    it. Everything else only changes the digest."""

    def __init__(self, name: str, world: World) -> None:
        self.name, self.world = name, world
        self.signer = Key(name)
        self.skew = 0
        self.lie = False
        """Its digests are wrong."""
        # Durable.
        self.records: list[bytes] = []
        self.boundaries: list[Boundary] = []
        self.ledger: dict[int, Decided] = {}
        self.position = Position(sequence=0, digest=bytes(32))
        self.outcomes: dict[str, bytes] = {}
        self.time = 0
        self.number = world.first.number
        """The epoch that decides the next sequence, as state says."""
        self.snapshots: dict[int, tuple[Position, dict[str, bytes], int, int]] = {}
        self.certified: dict[int, CheckpointCertificate] = {}
        self.keeps = True
        """Executed decisions, for others."""
        # What happened, for assertions.
        self.seen: list[Effect] = []
        self.settled: dict[str, bytes] = {}
        self.executions: list[str] = []
        self.replica: Replica | None = None
        self.queue: list[Execute] = []
        self.busy = False

    # Host.

    def wall(self, now: Micros) -> int:
        return START + now // MILLISECOND + self.skew

    def valid(self, request: Request) -> bool:
        return not request.body.startswith(b"forged")

    def outcome(self, request: str) -> bytes | None:
        return self.outcomes.get(request)

    def decided(self, sequence: int) -> Decided | None:
        return self.ledger.get(sequence) if self.keeps else None

    # Life.

    def start(self, *, amnesiac: bool = False) -> None:
        epochs = Epochs(self.world.first, self.boundaries, signatures=signatures())
        self.replica = Replica(
            signer=self.signer,
            epochs=epochs,
            position=self.position,
            host=self,
            dice=random.Random(self.name),
            settings=self.world.settings,
            records=self.records,
            amnesiac=amnesiac,
        )
        self.feed(Tick())

    def crash(self) -> None:
        self.replica = None
        self.queue.clear()

    def feed(self, event: Event) -> None:
        if self.replica is None:
            return
        effects = self.replica.handle(event, self.world.now)
        self.replica.check()
        for effect in effects:
            self.perform(effect)

    def perform(self, effect: Effect) -> None:
        self.seen.append(effect)
        if isinstance(effect, Persist):
            if effect.replaces:
                self.records = []
            self.records.append(effect.record)
        elif isinstance(effect, Send):
            self.world.send(self.name, effect)
        elif isinstance(effect, Execute):
            self.queue.append(effect)
        elif isinstance(effect, EpochBegan):
            self.boundaries.append(effect.boundary)
        elif isinstance(effect, Stable):
            self.certified[effect.certificate.checkpoint.sequence] = effect.certificate
        elif isinstance(effect, Settled):
            self.settled[effect.request] = effect.result
        elif isinstance(effect, FetchState):
            self.world.fetches.append((self.name, effect))
        else:
            assert isinstance(effect, Convict | Diverged | Refused)
            self.world.told(self.name, effect)

    def execute(self) -> bool:
        """One batch that waits, applied and durable. False: none waits."""
        if self.replica is None or not self.queue:
            return False
        order = self.queue.pop(0)
        assert order.sequence == self.position.sequence + 1
        self.time = max(self.time, order.time)
        digest = hashlib.blake2b(self.position.digest + order.certificate.digest, digest_size=32)
        due, following = self.position.due, self.position.next
        if following is not None and order.sequence >= following.since:
            self.number, following = following.number, None
        if due is not None and self.time >= due:
            due = None
        results: dict[str, bytes] = {}
        for request in order.requests:
            if request.id in self.outcomes:
                results[request.id] = self.outcomes[request.id]
                continue
            self.executions.append(request.id)
            results[request.id] = self.outcomes[request.id] = b"%d" % order.sequence
            word, _, rest = request.body.decode("latin-1").partition(" ")
            if word == "due":
                due = int(rest)
            elif word == "epoch" and following is None:
                number = self.number + 1
                since = order.sequence + limits.MARGIN + 1
                following = epoch(rest.split(","), number=number, since=since)
        if self.lie:
            digest.update(b"lie")
        self.position = Position(sequence=order.sequence, digest=digest.digest(), due=due, next=following)
        self.ledger[order.sequence] = Decided(order.certificate, order.proposal)
        self.snapshots[order.sequence] = (self.position, dict(self.outcomes), self.time, self.number)
        self.world.observe(self, order)
        self.feed(Executed(position=self.position, results=results))
        return True

    def install(self, source: Node, at: int) -> bool:
        found, certificate = source.snapshots.get(at), source.certified.get(at)
        if found is None or certificate is None:
            return False
        self.queue.clear()
        self.position, self.outcomes, self.time, self.number = found
        self.outcomes = dict(self.outcomes)
        self.snapshots[at] = found
        self.feed(StateInstalled(position=self.position, certificate=certificate))
        return True


class World:
    """`hold` decides what becomes of a message: None delivers it, later or now."""

    def __init__(
        self,
        voters: Sequence[str],
        *,
        learners: Sequence[str] = (),
        settings: Settings | None = None,
        first: Epoch | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.first = first or epoch(voters)
        self.now: Micros = 0
        self.wire: list[tuple[str, str, bytes]] = []
        self.lost: Callable[[str, str, bytes], bool] = lambda sender, to, message: False
        self.notices: list[tuple[str, Effect]] = []
        self.fetches: list[tuple[str, FetchState]] = []
        self.history: dict[int, CommitCertificate] = {}
        self.proposed: dict[int, Proposal] = {}
        self.nodes = {name: Node(name, self) for name in sorted([*voters, *learners])}

    def start(self) -> None:
        for node in self.nodes.values():
            node.start()

    def send(self, sender: str, effect: Send) -> None:
        assert effect.to != sender, "sent to itself"
        assert len(effect.message) <= limits.MESSAGE_SIZE
        if effect.to in self.nodes and not self.lost(sender, effect.to, effect.message):
            self.wire.append((sender, effect.to, effect.message))

    def told(self, name: str, effect: Effect) -> None:
        self.notices.append((name, effect))

    def observe(self, node: Node, order: Execute) -> None:
        """Agreement: one digest at each sequence, at all nodes."""
        known = self.history.setdefault(order.sequence, order.certificate)
        assert known.digest == order.certificate.digest, f"fork at {order.sequence}"
        self.proposed[order.sequence] = decode_proposal(order.proposal)

    # Time and messages.

    def step(self) -> bool:
        """The next message arrives, or the next batch is executed. False: nothing is under way."""
        for node in self.nodes.values():
            if node.execute():
                return True
        if self.wire:
            sender, to, message = self.wire.pop(0)
            self.nodes[to].feed(Received(sender, message))
            return True
        if self.fetches:
            name, effect = self.fetches.pop(0)
            at = effect.certificate.checkpoint.sequence
            if not any(self.nodes[name].install(self.nodes[source], at) for source in effect.sources):
                self.nodes[name].feed(StateFailed(sequence=at))
            return True
        return False

    def settle(self, most: int = 20_000) -> None:
        """Until nothing is under way."""
        for _ in range(most):
            if not self.step():
                return
        raise AssertionError("they never stop talking")

    def next_deadline(self) -> Micros | None:
        """None: all are down."""
        wanted = [
            deadline
            for node in self.nodes.values()
            if node.replica is not None and (deadline := node.replica.deadline()) is not None
        ]
        return min(wanted, default=None)

    def run(self, duration: Micros, *, until: Callable[[], Any] | None = None) -> None:
        """Lets time pass, each timer at its time."""
        end = self.now + duration
        self.settle()
        while not (until and until()):
            at = self.next_deadline()
            if at is None or at > end:
                self.now = end
                return
            assert at > self.now or at == self.now, "time goes back"
            self.now = max(self.now, at)
            for node in self.nodes.values():
                if node.replica is not None and (node.replica.deadline() or end) <= self.now:
                    node.feed(Tick())
            self.settle()

    def submit(self, name: str, id: str, body: bytes = b"x", client: str = "") -> None:
        self.nodes[name].feed(Submitted(Request(id, client, body)))
