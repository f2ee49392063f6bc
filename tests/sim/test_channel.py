"""Channels in the simulated world: they cross, break and change keys; nothing that was tampered with is ever heard."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from hivemind.protocols.noise.channel import _Direction
from hivemind.sim.faults import KINDS
from hivemind.sim.hosts.channel.peer import Peer
from hivemind.sim.many import simulate
from hivemind.sim.registry import ADVERSARIES
from hivemind.sim.run import Outcome
from hivemind.sim.scenario import Settings


@pytest.mark.parametrize("name", ADVERSARIES["channel"])
def test_each_liar_lies_and_is_refused(name: str) -> None:
    for seed in range(3):
        _well(_simulated(seed, adversary=name))


def test_calls_cross_break_and_are_made_again_under_every_fault() -> None:
    coverage: Counter[str] = Counter()
    for seed in range(20):
        outcome = _simulated(seed, nodes=2 + seed % 5, faults=tuple(KINDS))
        _well(outcome)
        coverage.update(outcome.coverage.keys())
    for what in ("two calls crossed", "keys changed", "answered", "cut off", "crash", "freeze", "loss"):
        assert coverage[what] >= 5, f"{what}: {coverage[what]}"
    assert coverage["a silent connection was given up"]


def _take_what_was_seen_before(patch: pytest.MonkeyPatch) -> None:
    """Who is given a record twice opens it twice."""
    genuine = _Direction.open
    seen: dict[bytes, bytes] = {}

    def trusting(self: Any, sealed: bytes) -> bytes:
        if sealed not in seen:
            seen[sealed] = genuine(self, sealed)
        return seen[sealed]

    patch.setattr(_Direction, "open", trusting)


def _keep_every_call(patch: pytest.MonkeyPatch) -> None:
    """When two call each other at once both give up their own call for the other's."""
    patch.setattr(Peer, "_taken", lambda self, line: False)


@pytest.mark.parametrize(
    ("defect", "adversary", "rules"),
    [
        (_take_what_was_seen_before, "doubler", {"once, in order"}),
        (_keep_every_call, "", {"progress after healing"}),
    ],
)
def test_planted_defects_are_found(
    defect: Any, adversary: str, rules: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    defect(monkeypatch)
    for seed in range(10):
        if _simulated(seed, adversary=adversary).rule in rules:
            return
    raise AssertionError("no seed found it")


def _simulated(seed: int, *, nodes: int = 4, **settings: Any) -> Outcome:
    return simulate(Settings(seed=seed, protocol="channel", nodes=nodes, seconds=1.5, **settings))


def _well(outcome: Outcome) -> None:
    assert not outcome.failed, "\n".join((f"{outcome.rule}: {outcome.story}", *outcome.trace[-30:]))
