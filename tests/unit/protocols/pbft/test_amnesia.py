"""An amnesiac voter is Byzantine until nothing that it may have voted on can matter."""

from __future__ import annotations

from hivemind.protocols.machine import SECOND
from hivemind.protocols.pbft import wire
from hivemind.protocols.pbft.settings import Settings
from unit.protocols.pbft.world import World


def forgetful(voters: str) -> World:
    world = World(voters, settings=Settings(checkpoint_interval=2, log=4))
    world.start()
    world.submit("A", "p/0")
    world.settle()
    node = world.nodes["D" if "D" in voters else voters[-1]]
    node.crash()
    node.records = []
    node.start(amnesiac=True)
    return world


def role(world: World, name: str) -> str:
    replica = world.nodes[name].replica
    assert replica is not None
    return replica.standing().role


def order(world: World, first: int, last: int) -> None:
    outcomes = world.nodes["B"].outcomes
    for number in range(first, last):
        id = f"p/{number}"
        world.submit("B", id)
        world.run(10 * SECOND, until=lambda id=id: id in outcomes)  # type: ignore[misc]


def test_a_later_checkpoint_in_a_later_view_ends_it() -> None:
    world = forgetful("ABCD")
    order(world, 1, 20)
    assert role(world, "D") == "abstaining", "the checkpoint is far beyond; the view it may have given up"
    world.lost = lambda sender, to, message: sender == "A"
    world.submit("B", "late/1")
    # Three that vote are a quorum of four; with A cut off there are two, until D may vote again.
    world.run(5 * SECOND)
    world.lost = lambda sender, to, message: False
    world.run(30 * SECOND)
    order(world, 20, 40)
    assert role(world, "D") == "voter"
    world.nodes["A"].crash()
    order(world, 40, 42)
    assert "p/41" in world.nodes["B"].outcomes, "it is needed, and votes"


def test_it_says_nothing_that_binds_it_and_follows_all_the_same() -> None:
    world = forgetful("ABCD")
    seen: list[wire.Body] = []

    def heard(sender: str, to: str, message: bytes) -> bool:
        packet = wire.decode(message)
        if sender == "D" and isinstance(packet, wire.Said):
            seen.append(wire.decode_body(packet.statement))
        return False

    world.lost = heard
    order(world, 1, 10)
    world.run(20 * SECOND)
    assert not seen
    assert world.nodes["D"].position == world.nodes["A"].position


def test_of_two_voters_the_other_cannot_tell() -> None:
    world = forgetful("AB")
    world.submit("A", "p/1")
    world.run(60 * SECOND)
    assert role(world, "B") == "abstaining"
    assert "p/1" not in world.nodes["A"].outcomes
