"""The simulator itself, on a toy protocol: planted defects are found, seeds are histories, failures shrink."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from hivemind.sim.faults import KINDS, LASTING_HARM
from hivemind.sim.run import Outcome, run
from hivemind.sim.scenario import Settings
from hivemind.sim.shrink import shrunk
from sim.synod import SynodScenario

HARSH = ("loss", "reorder", "crash", "partition", "duplicate")


def _run(seed: int, mutant: str = "", **changes: object) -> Outcome:
    settings = Settings(seed=seed, protocol="synod", nodes=5, faults=HARSH, seconds=0.6, mutant=mutant)
    return run(msgspec.structs.replace(settings, **changes), SynodScenario)


def _first_failure(mutant: str, rule: str, seeds: range = range(300)) -> Outcome:
    for seed in seeds:
        outcome = _run(seed, mutant)
        if outcome.failed:
            assert outcome.rule == rule
            return outcome
    raise AssertionError(f"no seed found the mutant that {mutant}")


def test_a_protocol_that_is_right_keeps_every_rule_under_every_fault() -> None:
    coverage: set[str] = set()
    for seed in range(100):
        outcome = _run(seed, faults=tuple(kind for kind in KINDS if kind not in LASTING_HARM))
        assert not outcome.failed, "\n".join((outcome.story, *outcome.trace))
        coverage |= outcome.coverage.keys()
    assert coverage >= {
        "loss", "duplicate", "reorder", "delay", "partition", "one-way", "crash", "torn record", "freeze", "skew",
        "upgrade", "cut off",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("mutant", "rule"),
    [
        ("forgets", "agreement"),
        ("small quorum", "agreement"),
        ("raises", "no exception"),
        ("stops", "progress after healing"),
    ],
)
def test_planted_defects_are_found(mutant: str, rule: str) -> None:
    assert _first_failure(mutant, rule).trace


def test_a_failure_shrinks_to_the_faults_that_it_needs() -> None:
    failed = next(
        outcome for seed in range(300) if (outcome := _run(seed, "forgets")).failed and len(outcome.plan) >= 5
    )
    small = shrunk(failed, len(failed.plan), 0, lambda settings: run(settings, SynodScenario))
    assert small.rule == failed.rule
    assert len(small.plan) < len(failed.plan)
    assert run(small.settings, SynodScenario) == small, "what it names can be repeated"
    assert all(fault in failed.plan for fault in small.plan)


def test_a_seed_is_a_history() -> None:
    assert _run(7) == _run(7)
    assert _run(7).digest != _run(8).digest


def test_a_fault_left_out_changes_nothing_before_it() -> None:
    whole = _run(7)
    last = max(range(len(whole.plan)), key=lambda number: whole.plan[number].at)
    settings = msgspec.structs.replace(
        whole.settings, only_faults=tuple(n for n in range(len(whole.plan)) if n != last)
    )
    lines = run(whole.settings, SynodScenario, trace=True).trace
    fewer = run(settings, SynodScenario, trace=True).trace
    start = next(number for number, line in enumerate(lines) if whole.plan[last].told(str) in line)
    assert fewer[:start] == lines[:start]


def test_a_history_does_not_depend_on_hash_seeds_and_a_machine_that_does_is_found_out() -> None:
    assert len({_digest_under("", hash_seed) for hash_seed in (1, 2)}) == 1
    assert len({_digest_under("hash order", hash_seed) for hash_seed in range(1, 5)}) > 1


def _digest_under(mutant: str, hash_seed: int) -> str:
    program = f"from sim.test_simulator import _run; print(_run(3, {mutant!r}).digest)"
    environ = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environ,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
