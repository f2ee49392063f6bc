"""Messages that leave in one turn travel as one, and count as if each had come alone."""

from __future__ import annotations

import pytest

from hivemind.protocols.machine import Received
from hivemind.protocols.pbft import limits, wire
from hivemind.protocols.pbft.wire import Request, Several, Wish, encode, together
from unit.protocols.pbft.world import World


def world_of(names: str) -> World:
    world = World(names)
    world.start()
    world.settle()
    return world


def join(world: World) -> int:
    """All that is under way from one node to another becomes as few messages as possible: how many it was."""
    grouped: dict[tuple[str, str], list[bytes]] = {}
    for sender, to, message in world.wire:
        grouped.setdefault((sender, to), []).append(message)
    before = len(world.wire)
    world.wire = [(*pair, packed) for pair, messages in grouped.items() for packed in together(messages)]
    return before - len(world.wire)


def wishes(count: int) -> list[bytes]:
    return [encode(Wish(Request(f"p/{turn}", "", b"x"))) for turn in range(count)]


def test_requests_that_come_together_are_proposed_together() -> None:
    world = world_of("ABCD")
    for turn in range(20):
        world.submit("B", f"p/{turn}")
    assert join(world) == 19
    world.settle()
    assert len(world.history) == 1
    assert all(len(node.outcomes) == 20 for node in world.nodes.values())


def test_votes_that_come_together_are_votes() -> None:
    world = world_of("ABCD")
    world.nodes["D"].replica, held = None, world.nodes["D"].replica
    for turn in range(5):
        world.submit("A", f"p/{turn}")
        world.settle()
    world.nodes["D"].replica = held
    joined = 0
    for turn in range(5, 200):
        world.submit("A", f"p/{turn}")
        while world.step():
            joined += join(world)
    world.run(world.settings.idle_interval)
    assert joined and all(len(node.outcomes) == 200 for node in world.nodes.values())


def test_what_comes_after_the_end_of_an_epoch_in_the_same_message_counts() -> None:
    """B is away while the epoch ends, and gets everything at once."""
    world = world_of("ABCD")
    held: list[bytes] = []

    def hold(sender: str, to: str, message: bytes) -> bool:
        if (sender, to) == ("C", "B"):
            held.append(message)
        return to == "B"

    world.lost = hold
    world.submit("A", "p/1", b"epoch A,B,C")
    world.settle()
    world.submit("A", "p/2")
    world.settle()
    assert world.nodes["A"].number == 1 and world.nodes["B"].number == 0
    world.lost = lambda sender, to, message: False
    replica = world.nodes["B"].replica
    assert replica is not None
    for packed in together(held):
        world.nodes["B"].feed(Received("C", packed))
    world.run(5 * world.settings.status_interval)
    assert "p/2" in world.nodes["B"].outcomes and replica.standing().epoch.number == 1


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (encode(Several((encode(Several(tuple(wishes(2)))),))), "several within several"),
        (encode(Several(tuple(wishes(limits.TOGETHER + 1)))), "too many at once"),
        (encode(Several((b"\xc1",))), "malformed"),
    ],
)
def test_what_nobody_honest_packs_is_dropped(message: bytes, why: str) -> None:
    world = world_of("ABCD")
    world.nodes["A"].feed(Received("B", message))
    replica = world.nodes["A"].replica
    assert replica is not None and dict(replica.standing().dropped) == {why: 1}
    assert not world.wire and not world.history


def test_nothing_is_lost_doubled_or_turned_round_and_no_message_is_too_large() -> None:
    sizes = [1, limits.TOGETHER_SIZE, 2, 3, limits.MESSAGE_SIZE, 5] + [7] * (2 * limits.TOGETHER)
    messages = [bytes([turn % 128]) * size for turn, size in enumerate(sizes)]
    packed = list(together(messages))
    found: list[bytes] = []
    for message in packed:
        assert len(message) <= limits.MESSAGE_SIZE
        try:
            several = wire.decode(message)
        except wire.Malformed:
            found.append(message)  # alone
        else:
            assert isinstance(several, Several)
            found += several.messages
    assert found == messages and len(packed) < 10
    assert list(together([])) == []
