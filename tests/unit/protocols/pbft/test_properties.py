"""What never happens, whatever is lost, late, doubled, cut off or restarted; and what happens once that ends."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hivemind.protocols.machine import MILLISECOND, SECOND, Persist, Send
from hivemind.protocols.pbft import wire
from hivemind.protocols.pbft.certificate import commit_holds
from hivemind.protocols.pbft.durable import Accepted, Entered, Left, WasPrepared, decode_records
from hivemind.protocols.pbft.epochs import Epochs
from hivemind.protocols.pbft.events import Convict, Diverged
from hivemind.protocols.pbft.settings import Settings
from hivemind.protocols.pbft.signatures import Signatures
from unit.protocols.pbft.world import START, Node, World, verify

NAMES = "ABCDEFG"
number = st.integers(0, 2**16)
ACTIONS = st.one_of(
    st.tuples(st.just("submit"), number, number),
    st.tuples(st.just("submit"), number, number),
    st.tuples(st.just("carry"), number, number),
    st.tuples(st.just("carry"), number, number),
    st.tuples(st.just("join"), number, number),
    st.tuples(st.just("wait"), st.integers(1, 3000), number),
    st.tuples(st.just("crash"), number, number),
    st.tuples(st.just("restart"), number, number),
    st.tuples(st.just("cut"), number, number),
    st.tuples(st.just("heal"), number, number),
    st.tuples(st.just("reconfigure"), number, number),
    st.tuples(st.just("timer"), number, st.integers(0, 2000)),
)


class Story:
    """One run. Every vote that leaves a node is remembered, over all its lives."""

    def __init__(self, voters: int, pipeline: int) -> None:
        names = NAMES[:voters]
        self.world = World(
            names, learners="LM", settings=Settings(checkpoint_interval=4, log=8, pipeline=pipeline)
        )
        self.cut: set[str] = set()
        self.sent: dict[str, bytes] = {}
        self.votes: dict[tuple[Any, ...], bytes] = {}
        self.durable: dict[str, dict[tuple[Any, ...], None]] = {}
        self.world.lost = self._lost
        for node in self.world.nodes.values():
            self._watch(node)
        self.world.start()

    def act(self, kind: str, first: int, second: int) -> None:
        world, names = self.world, sorted(self.world.nodes)
        node = world.nodes[names[first % len(names)]]
        if kind == "submit" and node.replica is not None:
            self.submit(node, b"x")
        elif kind == "reconfigure" and node.replica is not None:
            size = 1 + second % min(len(names), 7)
            start = first % len(names)
            self.submit(node, ("epoch " + ",".join((names + names)[start : start + size])).encode())
        elif kind == "timer" and node.replica is not None:
            self.submit(node, b"due %d" % (START + world.now // MILLISECOND + second))
        elif kind == "carry":
            # Out of order, and now and then one of them twice.
            for step in range(first % 100):
                if world.wire and (first >> (step % 16)) & 1:
                    at = (second + step) % min(len(world.wire), 8)
                    message = world.wire.pop(at)
                    world.wire.insert(0, message)
                    if step % 11 == 0:
                        world.wire.append(message)
                world.step()
        elif kind == "join":
            self._join()
        elif kind == "wait":
            world.run(first * MILLISECOND)
        elif kind == "crash":
            node.crash()
        elif kind == "restart" and node.replica is None:
            node.start()
        elif kind == "cut":
            self.cut = {names[first % len(names)], names[second % len(names)]}
        elif kind == "heal":
            self.cut = set()

    def _join(self) -> None:
        """What is under way from one node to another becomes one message."""
        grouped: dict[tuple[str, str], list[bytes]] = {}
        for sender, to, message in self.world.wire:
            packet = wire.decode(message)
            parts = packet.messages if isinstance(packet, wire.Several) else (message,)
            grouped.setdefault((sender, to), []).extend(parts)
        self.world.wire = [
            (*pair, packed) for pair, parts in grouped.items() for packed in wire.together(parts)
        ]

    def submit(self, node: Node, body: bytes) -> None:
        id = f"p{len(self.sent) % 3}/{len(self.sent)}"
        self.sent[id] = body
        self.world.submit(node.name, id, body)

    def heal(self) -> None:
        self.cut = set()
        for node in self.world.nodes.values():
            if node.replica is None:
                node.start()
        self.world.settle()

    def _lost(self, sender: str, to: str, message: bytes) -> bool:
        return (sender in self.cut) != (to in self.cut)

    def _watch(self, node: Node) -> None:
        inner, kept = node.perform, self.durable.setdefault(node.name, {})

        def perform(effect: Any) -> None:
            if isinstance(effect, Persist):
                kept.update(dict.fromkeys(_covered(effect.record)))
            elif isinstance(effect, Send):
                self._judge(node.name, effect.message, kept)
            inner(effect)

        node.perform = perform  # type: ignore[method-assign]

    def _judge(self, name: str, message: bytes, kept: dict[tuple[Any, ...], None]) -> None:
        """No vote before its record; no vote against an earlier one, in this life or another."""
        packet = wire.decode(message)
        if not isinstance(packet, wire.Said) or packet.statement.signer != name:
            return
        body = wire.decode_body(packet.statement)
        key: tuple[Any, ...]
        if isinstance(body, wire.Vote):
            key = (packet.epoch, type(body).__name__, body.view, body.sequence)
            at = (packet.epoch, body.view, body.sequence, body.digest)
            assert ((*at, "commit") if isinstance(body, wire.Commit) else at) in kept, "forgetful"
        elif isinstance(body, wire.Checkpoint):
            key = (packet.epoch, "Checkpoint", body.sequence)
        elif isinstance(body, wire.ViewChange | wire.NewView):
            key = (packet.epoch, type(body).__name__, body.view)
            assert key in kept, "forgetful"
        else:
            return
        known = self.votes.setdefault((name, *key), packet.statement.body)
        assert known == packet.statement.body, f"{name} contradicts itself: {key}"


def _covered(record: bytes) -> list[tuple[Any, ...]]:
    covered: list[tuple[Any, ...]] = []
    for entry in decode_records([record]):
        if isinstance(entry, Accepted):
            body = wire.decode_body(entry.preprepare)
            assert isinstance(body, wire.PrePrepare)
            covered.append((entry.epoch, body.view, body.sequence, body.digest))
        elif isinstance(entry, WasPrepared):
            held = entry.certificate
            covered.append((entry.epoch, held.view, held.sequence, held.digest, "commit"))
        elif isinstance(entry, Left):
            covered.append((entry.epoch, "ViewChange", entry.view))
        elif isinstance(entry, Entered):
            view = wire.decode_body(entry.proof)
            assert isinstance(view, wire.NewView)
            covered.append((entry.epoch, "NewView", entry.view))
            for statement in view.proposals:
                body = wire.decode_body(statement)
                assert isinstance(body, wire.PrePrepare)
                covered.append((entry.epoch, body.view, body.sequence, body.digest))
    return covered


def told(story: Story) -> None:
    """Agreement is asserted at each execution (`World.observe`); the rest is looked at here."""
    world = story.world
    assert not [effect for _, effect in world.notices if isinstance(effect, Convict | Diverged)]
    for node in world.nodes.values():
        assert len(set(node.executions)) == len(node.executions), "executed twice"
        assert set(node.outcomes) <= set(story.sent), "executed what nobody wanted"
        epochs = Epochs(world.first, node.boundaries, signatures=Signatures("hive/0", verify))
        for sequence, decided in node.ledger.items():
            epoch = epochs.deciding(sequence)
            assert epoch is not None
            assert commit_holds(decided.certificate, epoch, epochs.signatures)
            assert wire.digest(decided.proposal) == decided.certificate.digest


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.integers(1, 7), st.integers(1, 8), st.lists(ACTIONS, min_size=5, max_size=60))
def test_agreement_validity_exactly_once_and_progress_after_healing(
    voters: int, pipeline: int, actions: list[tuple[str, int, int]]
) -> None:
    story = Story(voters, pipeline)
    for action in actions:
        story.act(*action)
    told(story)
    story.heal()
    # Whoever holds a request of before may have crashed with it; one that is wanted now is decided everywhere.
    story.submit(story.world.nodes["A"], b"x")
    last = list(story.sent)[-1]
    nodes = story.world.nodes.values()
    story.world.run(
        300 * SECOND,
        until=lambda: (
            all(last in node.outcomes for node in nodes)
            and len({node.position.digest for node in nodes}) == 1
        ),
    )
    assert all(last in node.outcomes for node in nodes), "no progress"
    told(story)


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.integers(1, 7), st.lists(ACTIONS, min_size=5, max_size=40))
def test_equal_events_give_equal_effects(voters: int, actions: list[tuple[str, int, int]]) -> None:
    runs = []
    for _ in range(2):
        story = Story(voters, 4)
        for action in actions:
            story.act(*action)
        runs.append([node.seen for node in story.world.nodes.values()])
    assert runs[0] == runs[1]
