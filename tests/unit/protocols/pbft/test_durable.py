"""What a voter remembers over a crash, and what it does when its memory is damaged or gone."""

from __future__ import annotations

import pytest

from hivemind.errors import Corrupt
from hivemind.protocols.machine import SECOND
from hivemind.protocols.pbft.durable import Forgot, encode_records
from hivemind.protocols.pbft.events import StateInstalled
from hivemind.protocols.pbft.settings import Settings
from unit.protocols.pbft.world import World


def test_records_are_bounded_by_what_is_above_the_stable_checkpoint() -> None:
    world = World("ABCD", settings=Settings(checkpoint_interval=4, log=8))
    world.start()
    for number in range(50):
        world.submit("A", f"p/{number}", b"y" * 10_000)
        world.settle()
    assert all(sum(map(len, node.records)) < 150_000 for node in world.nodes.values())


def test_damaged_records_are_refused() -> None:
    world = World("ABCD")
    world.start()
    world.submit("A", "p/1")
    world.settle()
    node = world.nodes["B"]
    node.crash()
    node.records[0] = node.records[0][:-1]
    with pytest.raises(Corrupt, match="record 0"):
        node.start()


def test_votes_of_an_epoch_that_the_chain_does_not_have_are_refused() -> None:
    world = World("ABCD")
    world.nodes["B"].records = [encode_records([Forgot(3)])]
    with pytest.raises(Corrupt, match="epoch 3"):
        world.nodes["B"].start()


def test_a_state_is_believed_with_its_certificate_only() -> None:
    world = World("ABCD", learners="L", settings=Settings(checkpoint_interval=2, log=4))
    world.nodes["L"].keeps = False
    world.start()
    world.nodes["L"].crash()
    for number in range(2):
        world.submit("A", f"p/{number}")
        world.settle()
    world.run(SECOND)
    world.nodes["L"].start()
    certificate = world.nodes["A"].certified[2]
    wrong = world.nodes["A"].snapshots[1][0]
    replica = world.nodes["L"].replica
    assert replica is not None
    with pytest.raises(ValueError, match="not the certified one"):
        replica.handle(StateInstalled(position=wrong, certificate=certificate), world.now)
