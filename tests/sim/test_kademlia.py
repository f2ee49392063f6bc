"""Discovery in the simulated world: every liar, every fault, and a planted defect that must be found."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec
import pytest

from hivemind.sim.faults import KINDS
from hivemind.sim.many import simulate
from hivemind.sim.registry import ADVERSARIES
from hivemind.sim.scenario import Settings

_SETTINGS = Settings(seed=0, protocol="kademlia", nodes=5, seconds=1.5)


@pytest.mark.parametrize("liar", ADVERSARIES["kademlia"])
def test_nobody_who_lies_hides_or_invents_a_node(liar: str) -> None:
    for seed in range(3):
        outcome = simulate(msgspec.structs.replace(_SETTINGS, seed=seed, adversary=liar))
        assert not outcome.failed, "\n".join((outcome.story, *outcome.trace))


def test_under_all_faults_everybody_is_found_again_and_nobody_who_went() -> None:
    coverage: set[str] = set()
    for seed in range(12):
        outcome = simulate(msgspec.structs.replace(_SETTINGS, seed=seed, faults=tuple(KINDS)))
        assert not outcome.failed, "\n".join((outcome.story, *outcome.trace))
        coverage |= outcome.coverage.keys()
    assert coverage >= {"loss", "crash", "partition", "one-way", "freeze", "an announcement was taken back"}


def test_who_does_not_verify_is_found_out() -> None:
    lied_to = msgspec.structs.replace(_SETTINGS, adversary="record-forger", mutant="trusting")
    outcomes = [simulate(msgspec.structs.replace(lied_to, seed=seed)) for seed in range(3)]
    assert {outcome.rule for outcome in outcomes} == {"genuine"}


def test_a_seed_is_the_same_history_under_another_hash_seed() -> None:
    program = (
        "from hivemind.sim.many import simulate; from hivemind.sim.scenario import Settings;"
        "print(simulate(Settings(seed=3, protocol='kademlia', nodes=5, faults=('loss', 'crash'), seconds=1.5)).digest)"
    )
    digests = set()
    for hash_seed in ("1", "2"):
        environ = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)}
        digests.add(subprocess.check_output([sys.executable, "-c", program], env=environ))
    assert len(digests) == 1
