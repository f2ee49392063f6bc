"""Apps of several containers: what is set aside for them, and what is refused."""

from __future__ import annotations

import pytest

from hive import Hive
from hivemind.errors import Invalid
from hivemind.model.app import AppSpec, Companion
from hivemind.model.check import Check, CommandProbe, Hook, TcpProbe
from hivemind.model.template import Resources


def companion(name: str, **more: object) -> Companion:
    return Companion(name=name, image="x:1", **more)  # type: ignore[arg-type]


def test_what_runs_together_is_added_and_what_runs_before_is_not() -> None:
    spec = AppSpec(
        image="web:1",
        resources=Resources(cpus=0.1, memory=100, pids=5, gpus=1),
        sidecars=(
            companion("a", resources=Resources(cpus=0.2, memory=50)),
            companion("b", resources=Resources(gpus=1)),
        ),
        init_containers=(
            companion("c", resources=Resources(cpus=2, memory=120)),
            companion("d", resources=Resources(cpus=1)),
        ),
    )
    assert spec.reserved == Resources(cpus=2, memory=150, gpus=2)
    alone = AppSpec(image="web:1", resources=Resources(cpus=0.1, pids=7))
    assert alone.reserved is alone.resources


def test_the_scheduler_sets_all_of_it_aside() -> None:
    hive = Hive(cpus=1)
    half = Resources(cpus=0.5)
    hive.deploy("web", replicas=2, resources=half, sidecars=(companion("log", resources=half),))
    hive.settle()
    waiting, placed = sorted(hive.live(), key=lambda a: a.node)
    assert (waiting.node, placed.node) == ("", "node-0")
    assert hive.state.uses()["node-0"].cpus == 1
    assert "lacks 1 core" in waiting.reason


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"liveness": Check(probe=CommandProbe(command=("x",)))}, "nothing checks it"),
        ({"pre_stop": Hook(action=CommandProbe(command=("x",)))}, "has no hooks"),
    ],
)
def test_what_runs_to_its_end_has_neither_checks_nor_hooks(more: dict[str, object], says: str) -> None:
    with pytest.raises(Invalid, match=says):
        AppSpec(image="web:1", init_containers=(companion("a", **more),)).validate()


def test_a_check_of_a_companion_needs_a_port_too() -> None:
    spec = AppSpec(image="web:1", sidecars=(companion("a", readiness=Check(probe=TcpProbe())),))
    with pytest.raises(Invalid, match="names no port"):
        spec.validate()
