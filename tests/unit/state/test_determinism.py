"""Every node computes the same state: whatever its hash seed, its history of restarts, its dict orders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from grown_hive import HOUR, GrownHive
from hive import Hive
from hivemind.model.content import Piece
from hivemind.model.network import Port
from hivemind.model.node import NodeManifest
from hivemind.model.template import EnvFrom
from hivemind.state.operations import (
    DeleteApp,
    LeaveHive,
    PauseApp,
    PutContent,
    RollbackApp,
    ScaleApp,
    UpdateNode,
)
from hivemind.state.partition import PartitionTree
from hivemind.state.state import State

SCRIPT = """
import sys; sys.path.insert(0, {tests!r})
from hive import Hive
from test_determinism import grown, story
print(story(Hive(nodes=5)).state.digest().hex(), grown().state.digest().hex())
"""


def story(hive: Hive) -> Hive:
    """A bit of everything."""
    for index in range(8):
        hive.deploy(f"app-{index}", replicas=index, ports=(Port(container=80, host=8000 + index),))
    hive.starts_done()
    hive.do(ScaleApp(project="default", name="app-3", replicas=9))
    hive.deploy("app-5", replicas=5, image="web:2")
    hive.settle()
    secret = {"project": "default", "kind": "secret", "name": "db"}
    for value in ("one", "two"):
        hive.do(PutContent(**secret, data={"password": Piece(value=value.encode(), digest=value)}))
        hive.deploy("app-4", replicas=4, env_from=(EnvFrom(secret="db"),), image="web:3")
        hive.settle()
    hive.do(RollbackApp(project="default", name="app-4"))
    hive.do(PauseApp(project="default", name="app-4"))
    hive.do(DeleteApp(project="default", name="app-7"))
    hive.stops_done()
    return hive


def grown() -> GrownHive:
    """Nodes that come, vote, are lost, return, leave; replicas that spread over zones and move."""
    hive = GrownHive(*"bcdefgh", workers=("v", "w"), max_voters=5, rotation=HOUR, rebalance=True)
    for number, name in enumerate("bcdefgh"):
        hive.do(UpdateNode(manifest=NodeManifest(name=name, labels={"zone": f"z{number % 3}"})))
    hive.deploy("web", replicas=20)
    hive.deploy("near", replicas=4, depends_on={"web": "started"})
    hive.settle()
    for name in "bc":
        hive.lose(name)
    hive.begun()
    hive.register("b")
    hive.do(LeaveHive(node="d"))
    hive.admit("late")
    for _ in range(60):
        hive.settle()
        due = hive.state.deadline()
        hive.wait(max((due or hive.time) - hive.time, 0) / 1000)
    return hive


def test_other_hash_seeds_give_the_same_digest() -> None:
    here = Path(__file__).parent
    script = SCRIPT.format(tests=str(here))
    digests = set()
    for seed in ("0", "1", "4242"):
        env = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": os.pathsep.join([*sys.path, str(here.parent.parent)]),
        }
        done = subprocess.run(
            [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True
        )
        digests.add(done.stdout.strip())
    assert len(digests) == 1
    mine = f"{story(Hive(nodes=5)).state.digest().hex()} {grown().state.digest().hex()}"
    assert digests == {mine}


def test_a_restored_hive_of_several_goes_on_exactly_like_the_one_that_never_stopped() -> None:
    hive = grown()
    assert hive.state.terms and hive.state.about.away
    again = State.restore(hive.state.snapshot())
    for state in (hive.state, again):
        for _ in range(50):
            due = max(state.deadline() or 0, state.time)
            state.apply(state.sequence + 1, due, [])
    assert again.digest() == hive.state.digest() and again.deadline() == hive.state.deadline()


def test_a_restored_state_goes_on_exactly_like_the_one_that_never_stopped() -> None:
    through, restarted = Hive(nodes=3), Hive(nodes=3)
    for hive in (through, restarted):
        story(hive)
    restarted.state = State.restore(restarted.state.snapshot())
    assert restarted.state.digest() == through.state.digest()
    for hive in (through, restarted):
        hive.deploy("app-1", replicas=4, image="web:3")
        hive.settle()
        assert hive.state.deadline() is None
    assert restarted.state.digest() == through.state.digest()
    assert restarted.state.snapshot() == through.state.snapshot()


def test_a_fork_shares_nothing_that_changes() -> None:
    hive = story(Hive(nodes=2))
    before = hive.state.digest()
    copy = Hive(nodes=0)
    copy.state, copy.time, copy.count = hive.state.fork(), hive.time, hive.count
    assert copy.state.digest() == before
    copy.deploy("another")
    assert hive.state.digest() == before
    assert copy.state.digest() != before


def test_the_incremental_digest_is_that_of_the_contents() -> None:
    one, other = PartitionTree(), PartitionTree()
    for index in range(500):
        one.set(f"k{index}".encode(), b"first")
        one.root()
    for index in range(500):
        one.set(f"k{index}".encode(), f"v{index}".encode() if index % 2 else None)
    for index in reversed(range(500)):
        if index % 2:
            other.set(f"k{index}".encode(), f"v{index}".encode())
    assert one.root() == other.root()
    assert one.root() != PartitionTree().root()
