"""An amnesiac voter is Byzantine until nothing that it may have voted on can matter."""

from __future__ import annotations

from hivemind.protocols.machine import SECOND, Received
from hivemind.protocols.pbft import wire
from hivemind.protocols.pbft.settings import Settings
from unit.protocols.pbft.world import World


def forgetful(voters: str) -> World:
    world = World(voters, settings=Settings(checkpoint_interval=2, log=4))
    world.start()
    world.submit("A", "p/0")
    world.settle()
    forget(world, "D" if "D" in voters else voters[-1])
    return world


def forget(world: World, name: str) -> None:
    node = world.nodes[name]
    node.crash()
    node.records = []
    node.start(amnesiac=True)


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


def views(world: World) -> set[int]:
    replicas = [node.replica for node in world.nodes.values() if node.replica is not None]
    return {replica.standing().view for replica in replicas}


def test_a_later_checkpoint_and_then_a_later_view_end_it() -> None:
    """Nothing is wrong with the primary: the others begin a view because it asks for one."""
    world = forgetful("ABCD")
    assert views(world) == {0}
    order(world, 1, 4)
    assert role(world, "D") == "abstaining" and views(world) == {0}, "no checkpoint is far enough"
    order(world, 4, 20)
    world.run(30 * SECOND)
    order(world, 20, 30)
    assert role(world, "D") == "voter" and views(world) == {1}
    world.nodes["A"].crash()
    order(world, 30, 32)
    assert "p/31" in world.nodes["B"].outcomes, "it is needed, and votes"


def test_the_view_that_is_begun_for_it_is_not_its_own() -> None:
    """D would be the primary of view 3, and begins none as long as it abstains."""
    world = World("ABCD", settings=Settings(checkpoint_interval=2, log=4))
    world.start()
    for number, name in enumerate("AB"):
        world.lost = lambda sender, to, message, cut=name: cut in (sender, to)  # type: ignore[misc]
        world.submit("C", f"cut/{number}")
        world.run(20 * SECOND)
        world.lost = lambda sender, to, message: False
        world.run(20 * SECOND)
    assert views(world) == {2}
    forget(world, "D")
    order(world, 1, 30)
    world.run(30 * SECOND)
    order(world, 30, 36)
    assert role(world, "D") == "voter" and views(world) == {4}


def test_nobody_makes_the_others_begin_views_again_and_again() -> None:
    world = World("ABCD", settings=Settings(checkpoint_interval=2, log=4))
    world.start()
    order(world, 0, 3)
    for above in (2**40, 2**40, 5, 2**61):
        for name in "ABC":
            world.nodes[name].feed(Received("D", wire.encode(wire.Recall(0, above))))
        world.run(20 * SECOND)
    assert max(views(world)) == 1
    order(world, 3, 6)
    assert "p/5" in world.nodes["B"].outcomes


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
