"""PBFT in the simulated world: planted defects are found, each liar lies, and nothing that must hold breaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from hivemind.protocols.machine import Persist
from hivemind.protocols.pbft import certificate, core, newview, wire
from hivemind.protocols.pbft.replica import Replica
from hivemind.sim.faults import KINDS
from hivemind.sim.hosts.pbft import scenario as pbft_scenario
from hivemind.sim.hosts.pbft import site
from hivemind.sim.hosts.pbft.application import Application, Command
from hivemind.sim.many import simulate
from hivemind.sim.registry import ADVERSARIES
from hivemind.sim.run import Outcome
from hivemind.sim.scenario import Settings

Patch = Callable[[pytest.MonkeyPatch], None]


def _forget(patch: pytest.MonkeyPatch) -> None:
    """A replica that votes before its vote is durable."""

    class Forgetful(Replica):
        def handle(self, event: Any, now: int) -> list[Any]:
            return [effect for effect in super().handle(event, now) if not isinstance(effect, Persist)]

    patch.setattr(site, "Replica", Forgetful)


def _vote_although_forgotten(patch: pytest.MonkeyPatch) -> None:
    """What is damaged is noticed, and the node votes as if it were new."""

    class Carefree(Replica):
        def __init__(self, **arguments: Any) -> None:
            super().__init__(**{**arguments, "amnesiac": False})

    patch.setattr(site, "Replica", Carefree)


def _twice_f_and_one(patch: pytest.MonkeyPatch) -> None:
    """2f+1, whatever n is."""
    for module in (core, certificate, newview):
        patch.setattr(module, "quorum", lambda n: 2 * ((n - 1) // 3) + 1)


def _drop_prepared(patch: pytest.MonkeyPatch) -> None:
    """New views put null requests in the place of what was prepared."""
    genuine = newview.outcome

    def nothing(view: int, *arguments: Any) -> newview.Outcome:
        found = genuine(view, *arguments)
        nulls = tuple(wire.PrePrepare(view, one.sequence, wire.NULL_DIGEST) for one in found.proposals)
        return newview.Outcome(found.stable, nulls)

    patch.setattr(newview, "outcome", nothing)
    patch.setattr("hivemind.protocols.pbft.viewchange.outcome", nothing)


def _read_locally(patch: pytest.MonkeyPatch) -> None:
    """Reads are answered from what this node happens to have."""
    settled = pbft_scenario.PbftScenario._settled

    def stale(self: Any, place: Any, effect: Any) -> None:
        asked = self._asked.get(effect.request)
        if asked is not None and asked.kind == "get":
            lagging = self.sites[self._honest()[-1]].application
            result = msgspec.msgpack.encode(lagging.values.get(asked.key))
            effect = msgspec.structs.replace(effect, result=result)
        settled(self, place, effect)

    patch.setattr(pbft_scenario.PbftScenario, "_settled", stale)


def _diverge(patch: pytest.MonkeyPatch) -> None:
    """State depends on who executes."""
    done = Application._done

    def own(self: Any, command: Command) -> Any:
        if command.kind == "put" and self.sequence % 7 == 0:
            self.values["who"] = str(id(self))
        return done(self, command)

    patch.setattr(Application, "_done", own)


@pytest.mark.parametrize(
    ("defect", "adversary", "faults", "rules"),
    [
        (
            _forget,
            "",
            ("crash", "power-cut", "loss"),
            {"no vote contradiction", "agreement", "no false conviction"},
        ),
        (_vote_although_forgotten, "", ("rot",), {"halted voting"}),
        (_twice_f_and_one, "equivocating-primary", (), {"agreement", "certificates"}),
        (_drop_prepared, "", ("partition", "loss"), {"agreement", "progress after healing"}),
        (_read_locally, "", ("partition", "delay", "freeze"), {"linearizability", "exactly once"}),
        (_diverge, "", (), {"agreement"}),
    ],
)
def test_planted_defects_are_found(
    defect: Patch, adversary: str, faults: tuple[str, ...], rules: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    defect(monkeypatch)
    for seed in range(25):
        outcome = _simulated(seed, nodes=5, adversary=adversary, faults=faults)
        if outcome.rule in rules:
            return
    raise AssertionError("no seed found it")


@pytest.mark.parametrize("name", ADVERSARIES["pbft"])
def test_each_liar_lies_and_is_borne(name: str) -> None:
    _well(_simulated(0, adversary=name))


@pytest.mark.slow
def test_liars_among_faults_are_borne() -> None:
    for seed, name in enumerate(ADVERSARIES["pbft"]):
        if not ADVERSARIES["pbft"][name].beyond:
            outcome = _simulated(
                seed, adversary=name, faults=("loss", "duplicate", "reorder", "crash", "one-way")
            )
            assert not outcome.failed or outcome.rule == "coverage", _story(outcome)


def test_every_kind_of_fault_happens_and_is_survived() -> None:
    coverage: Counter[str] = Counter()
    for seed in range(18):
        outcome = _simulated(seed, nodes=4 + seed % 4, faults=tuple(KINDS))
        _well(outcome)
        coverage.update(outcome.coverage.keys())
    assert coverage.keys() >= {
        "loss", "duplicate", "reorder", "delay", "partition", "one-way", "crash", "freeze", "skew", "upgrade",
        "amnesia", "new view", "new view with prepared batches", "epoch began", "stable checkpoint",
        "state installed", "settled", "mixed versions",
    }  # fmt: skip
    assert min(coverage["torn record"], coverage["damage found"], coverage["voting halted"]) >= 6


def test_voters_change_while_views_do() -> None:
    """Six nodes of which the primary of view 0 says nothing, and who votes is changed meanwhile."""
    together = 0
    for seed in range(8):
        outcome = _simulated(seed, adversary="silent-during-change", faults=("loss", "delay"))
        _well(outcome)
        together += "view change while voters change" in outcome.coverage
    assert together >= 2


def test_real_signatures_give_the_same_protocol() -> None:
    for seed in range(2):
        _well(_simulated(seed, faults=("loss", "crash"), real_crypto=True))


def _simulated(seed: int, *, nodes: int = 4, **settings: Any) -> Outcome:
    return simulate(Settings(seed=seed, protocol="pbft", nodes=nodes, seconds=1.5, **settings))


def _well(outcome: Outcome) -> None:
    assert not outcome.failed, _story(outcome)


def _story(outcome: Outcome) -> str:
    return "\n".join((f"{outcome.rule}: {outcome.story}", *outcome.told, *outcome.trace[-40:]))
