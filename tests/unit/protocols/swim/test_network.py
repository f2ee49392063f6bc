"""What holds for hives of any size, with loss: found within seconds, never failed without suspicion, all together
again after whatever happened; and each node's work is the same however many there are."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivemind.protocols.machine import SECOND, Received
from hivemind.protocols.swim import wire
from hivemind.protocols.swim.events import Failed, Leave, Measured, Returned, Status, Suspected
from hivemind.protocols.swim.settings import Settings
from unit.protocols.swim.network import Network


def settled(size: int, *, seed: int = 0, loss: float = 0.0) -> Network:
    network = Network(size, seed=seed, loss=loss)
    network.run(5)
    assert network.all_agree()
    return network


@pytest.mark.parametrize(("size", "loss"), [(2, 0), (3, 0.1), (4, 0.2), (10, 0.1), (25, 0), (64, 0.05)])
def test_a_crash_is_known_to_all_survivors_and_nobody_else_is_failed(size: int, loss: float) -> None:
    network = settled(size, seed=size, loss=loss)
    began = network.now
    network.crash("n1")
    network.run(8)
    failed = network.of(Failed)
    assert {effect.node for _, _, effect in failed} == {"n1"}
    assert {who for _, who, _ in failed} == set(network.hosts) - {"n1"}
    if size <= 10:
        assert max(when for when, _, _ in failed) - began <= 5 * SECOND
    assert network.all_agree()


@pytest.mark.parametrize("seed", range(12))
def test_ten_nodes_know_of_a_crash_in_five_seconds_and_bear_a_stall_of_three(seed: int) -> None:
    network = Network(10, seed=seed)
    network.run(5 + seed * 0.037)
    network.freeze("n2")
    network.run(3)
    assert network.of(Suspected), "the stall was noticed"
    network.thaw("n2")
    network.run(3)
    assert not network.of(Failed)
    assert network.all_agree()
    began = network.now
    network.crash("n1")
    network.run(5)
    assert set(network.statuses("n1").values()) == {Status.FAILED}
    assert {who for when, who, _ in network.of(Failed, began)} == set(network.hosts) - {"n1"}


def test_two_that_crash_at_once_and_half_of_a_hive() -> None:
    network = settled(10)
    for name in ("n1", "n2"):
        network.crash(name)
    network.run(8)
    for name in ("n1", "n2"):
        assert set(network.statuses(name).values()) == {Status.FAILED}
    for name in ("n3", "n4", "n5"):
        network.crash(name)
    network.run(15)
    for name in ("n3", "n4", "n5"):
        assert set(network.statuses(name).values()) == {Status.FAILED}
    assert network.all_agree()


def sent_each_second(size: int) -> float:
    """Messages for each node, at rest."""
    network = settled(size)
    network.run(3)
    before = network.sent.total()
    network.run(10)
    return (network.sent.total() - before) / size / 10


def test_what_a_node_sends_does_not_grow_with_the_hive() -> None:
    rest = [sent_each_second(size) for size in (3, 10, 50)]
    settings = Settings()
    ping_and_answer = 2 * SECOND / settings.interval
    assert all(ping_and_answer * 0.9 <= each <= ping_and_answer * 1.1 for each in rest)


def test_nor_when_one_crashes() -> None:
    """News is told a bounded number of times, and each looks at the accused in turns that it has anyway."""

    def worst(size: int) -> float:
        network = settled(size)
        network.run(3)
        before = dict(network.sent)
        network.crash("n1")
        network.run(6)
        return max(network.sent[name] - before[name] for name in network.hosts if name != "n1") / 6

    small, large = worst(10), worst(50)
    assert large <= 1.5 * small


def test_nothing_is_longer_than_a_datagram() -> None:
    network = settled(40, seed=3)
    network.part([f"n{each}" for each in range(20)], [f"n{each}" for each in range(20, 40)])
    network.run(10)
    assert 1_000 < network.largest <= 1_200


@pytest.mark.parametrize("size", [4, 10, 30])
def test_all_are_together_again_soon_after_a_partition(size: int) -> None:
    network = settled(size, seed=size, loss=0.05)
    names = list(network.hosts)
    network.part(names[: size // 2], names[size // 2 :])
    network.run(15)
    assert not network.all_agree()
    network.part()
    network.run(4)
    assert network.all_agree()


def test_a_forgotten_node_is_not_brought_back_by_its_old_words() -> None:
    network = Network(4, settings=Settings(reclaim=20 * SECOND))
    network.run(5)
    old = network.hosts["n1"].swim
    network.crash("n1")
    network.run(40)
    assert set(network.statuses("n1").values()) == {None}

    network.give("n0", Received("n2", wire.encode(wire.Gossip((old._own,)))))
    assert network.hosts["n0"].swim.status("n1") is None
    network.start("n1", incarnation=1)
    network.run(5)
    assert network.all_agree()


def test_a_hive_of_one_waits_for_nothing() -> None:
    network = Network(1)
    network.run(10)
    assert network.hosts["n0"].swim.deadline() is None
    assert not network.sent


def test_who_should_be_there_is_tried_until_it_is() -> None:
    network = Network(1)
    network.start("n2", meet=("n1",))
    network.run(20)
    assert network.hosts["n2"].swim.known == ()
    network.start("n1", meet=())
    network.run(3)
    assert network.hosts["n2"].swim.status("n1") == Status.ALIVE


FAULTS = ("crash", "restart", "freeze", "thaw", "part", "cut", "mend", "leave", "wait")


@settings(max_examples=15, deadline=None)
@given(
    st.integers(2, 8),
    st.integers(0, 1_000),
    st.floats(0, 0.3),
    st.lists(
        st.tuples(st.sampled_from(FAULTS), st.integers(0, 7), st.integers(0, 7), st.floats(0.1, 6)),
        max_size=12,
    ),
)
def test_whatever_happens_all_that_live_are_together_in_the_end(
    size: int, seed: int, loss: float, faults: list[tuple[str, int, int, float]]
) -> None:
    """After each event the machines' own invariants are checked, and that no incarnation goes back and nobody is
    failed who was not suspected (in `Network`)."""
    network = Network(size, seed=seed, loss=loss)
    lives = dict.fromkeys(network.hosts, 1)
    for fault, one, other, seconds in faults:
        name, peer = f"n{one % size}", f"n{other % size}"
        host = network.hosts[name]
        if fault == "crash":
            network.crash(name)
        elif fault == "restart":
            lives[name] += other % 2
            network.start(name, lives[name], meet=tuple(network.hosts))
        elif fault == "freeze" and host.up:
            network.freeze(name)
        elif fault == "thaw" and host.frozen and host.up:
            network.thaw(name)
        elif fault == "part":
            names = list(network.hosts)
            network.part(names[: 1 + one % size], names[1 + one % size :])
        elif fault == "cut":
            network.cuts.add((name, peer))
        elif fault == "mend":
            network.part()
        elif fault == "leave" and host.up and not host.frozen:
            network.give(name, Leave())
            network.run(1)
            network.crash(name)
        network.run(seconds)
    network.part()
    network.loss = 0.0
    for name, host in network.hosts.items():
        if host.frozen and host.up:
            network.thaw(name)
        if not host.up:
            network.start(name, lives[name], meet=tuple(network.hosts))
    network.run(25)
    assert network.all_agree()


def trace_digest() -> str:
    network = Network(8, seed=5, loss=0.1)
    network.run(3)
    network.crash("n3")
    network.run(5)
    network.start("n3", 2)
    network.run(5)
    assert network.of(Returned)
    told = repr(
        [(when, who, effect) for when, who, effect in network.told if not isinstance(effect, Measured)]
    )
    return hashlib.sha256(f"{told} {sorted(network.sent.items())}".encode()).hexdigest()


def test_equal_seeds_give_equal_traces_whatever_the_hash_seed() -> None:
    tests = Path(__file__).parents[3]
    code = "from unit.protocols.swim.test_network import trace_digest; print(trace_digest())"
    digests = set()
    for seed in ("1", "2"):
        path = f"{tests}:{tests.parent / 'src'}"
        environ = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
        )
        digests.add(done.stdout)
    assert len(digests) == 1
