"""Two thousand short worlds, of every protocol, under all faults and all liars; and those that once failed."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from hivemind.cli import declarations
from hivemind.cli.command import whole
from hivemind.cli.commands.simulator import again, settings_of
from hivemind.cli.parsing import parse
from hivemind.sim.faults import KINDS
from hivemind.sim.many import outcomes, simulate
from hivemind.sim.registry import ADVERSARIES, SCENARIOS
from hivemind.sim.run import Outcome
from hivemind.sim.scenario import Settings

_REGRESSIONS = Path(__file__).with_name("regressions.txt")
_MIXTURES = (
    (),
    ("loss", "duplicate", "reorder"),
    ("partition", "crash"),
    ("one-way", "delay", "loss"),
    ("power-cut", "crash", "torn", "skew"),
    ("amnesia", "rot", "freeze", "upgrade"),
    tuple(KINDS),
)
_SEEDS = 2_000
_SHARES = {"pbft": 4, "swim": 8, "autobee": 2, "kademlia": 2, "hive": 3}
"""How many of each twenty seeds a protocol gets; one, if it is not named."""


def _settings(seed: int) -> Settings:
    """Every third has liars instead of faults."""
    protocols = [name for name in SCENARIOS for _ in range(_SHARES.get(name, 1))]
    protocol = protocols[seed % len(protocols)]
    liars = list(ADVERSARIES[protocol])
    lying = seed % 3 == 0 and bool(liars)
    return Settings(
        seed=seed,
        protocol=protocol,
        nodes=4 + seed % 2 if lying else 2 + seed % 5,
        faults=() if lying else _MIXTURES[seed // 3 % len(_MIXTURES)],
        adversary=liars[seed // 3 % len(liars)] if lying else "",
        seconds=1.5,
    )


@pytest.mark.slow
def test_two_thousand_seeds() -> None:
    wanted = [_settings(seed) for seed in range(_SEEDS)]
    coverage: Counter[str] = Counter()
    failed = []
    for outcome in outcomes(wanted, jobs=os.cpu_count() or 1):
        coverage.update(outcome.coverage.keys())
        if outcome.failed:
            failed.append(outcome)
    assert not failed, "\n".join(map(_told, failed[:10]))
    assert len(wanted) == _SEEDS
    for what in ("new view with prepared batches", "epoch began", "view change while voters change", "state installed",
                 "conviction", "a node joined", "a voter went", "torn record", "damage found", "voting halted",
                 "amnesia", "mixed versions", "cut off", "a crash was found out"):  # fmt: skip
        assert coverage[what] > 20, f"{what}: {coverage[what]}"


def test_some_seeds_of_each_protocol() -> None:
    for seed in range(0, _SEEDS, 60):
        outcome = simulate(_settings(seed))
        assert not outcome.failed, _told(outcome)


@pytest.mark.parametrize("line", [line for line in _REGRESSIONS.read_text().splitlines() if line[:1] == "-"])
def test_what_once_failed(line: str) -> None:
    words, _, found = line.partition("  # ")
    assert found, "every line says what it found"
    command = declarations.find(("sim",))
    assert command is not None
    (settings,) = settings_of(parse(whole(command), shlex.split(words), {}))
    outcome = simulate(settings)
    assert not outcome.failed, _told(outcome)


@pytest.mark.parametrize("protocol", SCENARIOS)
def test_a_seed_gives_the_same_history_under_every_hash_seed(protocol: str) -> None:
    program = (
        "from hivemind.sim.many import simulate; from hivemind.sim.scenario import Settings;"
        f"from hivemind.sim.faults import KINDS; import sys;"
        f"print(*[simulate(Settings(seed=seed, protocol={protocol!r}, nodes=5, faults=tuple(KINDS),"
        f" adversary=liar, seconds=1.5)).digest for seed, liar in ((5, ''), (6, sys.argv[1]))])"
    )
    liar = next(iter(ADVERSARIES[protocol]), "")
    digests = set()
    for hash_seed in ("1", "2"):
        environ = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", program, liar], env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout)
    assert len(digests) == 1


def _told(outcome: Outcome) -> str:
    return f"{again(outcome.settings)}\n    {outcome.rule}: {outcome.story[:300]}"
