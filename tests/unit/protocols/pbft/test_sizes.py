"""Every number of voters, as far as it is said to go."""

from __future__ import annotations

import pytest

from hivemind.protocols.machine import SECOND
from hivemind.protocols.pbft import wire
from hivemind.protocols.pbft.quorum import quorum
from hivemind.security.identity import Identity, verify
from unit.protocols.pbft.world import World

NAMES = "ABCDEFG"


@pytest.mark.parametrize("n", range(1, 8))
def test_it_goes_on_without_as_many_as_may_be_down_and_stops_without_one_more(n: int) -> None:
    world = World(NAMES[:n])
    world.start()
    for name in NAMES[: n - quorum(n)]:
        world.nodes[name].crash()
    left = NAMES[n - quorum(n) : n]
    world.submit(left[0], "p/1")
    world.run(60 * SECOND, until=lambda: all(world.nodes[name].outcomes for name in left))
    assert all(world.nodes[name].outcomes for name in left)
    world.nodes[left[-1]].crash()
    if len(left) > 1:
        world.submit(left[0], "p/2")
        world.run(60 * SECOND)
        assert "p/2" not in world.nodes[left[0]].outcomes


def test_a_batch_costs_2n_n_minus_1_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    for n in (4, 7):
        world = World(NAMES[:n])
        world.start()
        world.settle()
        count = 0

        def counted(sender: str, to: str, message: bytes) -> bool:
            nonlocal count
            count += 1
            return False

        world.lost = counted
        world.submit("A", "p/1")
        world.settle()
        # Of the PREPAREs the primary sends none: its PRE-PREPARE stands for it.
        assert count == 2 * n * (n - 1)


def test_real_keys_and_few_verifications(monkeypatch: pytest.MonkeyPatch) -> None:
    """At n=4 a replica verifies what a quorum depends on: one PRE-PREPARE, one PREPARE or two, two COMMITs."""
    identities = {identity.public: identity for identity in (Identity(bytes([n]) * 32) for n in range(4))}
    calls = 0

    def counted(public: str, message: bytes, signature: bytes) -> bool:
        nonlocal calls
        calls += 1
        return verify(public, message, signature)

    monkeypatch.setattr("unit.protocols.pbft.world.Key", lambda name: identities[name])
    monkeypatch.setattr("unit.protocols.pbft.world.verify", counted)
    world = World(sorted(identities))
    world.start()
    world.settle()
    first = sorted(identities)[0]
    calls = 0
    for number in range(20):
        world.submit(first, f"p/{number}")
        world.settle()
    assert all(len(node.outcomes) == 20 for node in world.nodes.values())
    assert calls <= 20 * 4 * 5


def test_requests_are_batched_while_a_proposal_is_in_flight() -> None:
    world = World("ABCD")
    world.start()
    world.settle()
    for number in range(100):
        world.submit("A", f"p/{number}")
    world.settle()
    assert len(world.proposed[1].requests) == 1, "when idle nothing waits"
    world.run(world.settings.batch_delay)
    assert len(world.proposed[2].requests) == 99


def test_an_epoch_begins_without_waiting_for_any_timer() -> None:
    world = World("ABCD")
    world.start()
    world.settle()
    world.submit("A", "p/1", b"epoch B,C,D")
    world.settle()
    world.submit("C", "p/2")
    world.settle()
    assert world.now == 0
    assert [name for name, node in world.nodes.items() if "p/2" in node.outcomes] == ["B", "C", "D"]


def test_votes_of_the_next_epoch_wait_for_it() -> None:
    """B hears the last CHECKPOINTs of the old epoch only after the first proposal of the new one."""
    world = World("ABCD")
    world.start()
    world.settle()
    held: list[tuple[str, str, bytes]] = []

    def hold(sender: str, to: str, message: bytes) -> bool:
        packet = wire.decode(message)
        late = isinstance(packet, wire.Chain) or (
            isinstance(packet, wire.Said)
            and isinstance(body := wire.decode_body(packet.statement), wire.Checkpoint)
            and body.next is not None
        )
        if late and to == "B":
            held.append((sender, to, message))
        return late and to == "B"

    world.lost = hold
    world.submit("A", "p/1", b"epoch A,B,C")
    world.settle()
    world.submit("A", "p/2")
    world.settle()
    assert held and "p/2" not in world.nodes["B"].outcomes
    world.lost = lambda sender, to, message: False
    world.wire += held
    world.settle()
    world.run(world.settings.status_interval // 5)
    assert "p/2" in world.nodes["B"].outcomes, "only the body had to be asked for"
