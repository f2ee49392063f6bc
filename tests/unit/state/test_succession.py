"""From the node's own network to another and back: a port is let go before it is taken."""

from __future__ import annotations

from typing import Any

from hive import Hive
from hivemind.model.app import AppManifest, AppSpec
from hivemind.model.network import NetworkOptions, Port
from hivemind.model.project import ProjectManifest
from hivemind.state.operations import DeployApp, PutProject

DIRECT = {"network": NetworkOptions(mode="host"), "ports": (Port(container=80),)}
PUBLISHED = {"ports": (Port(container=8080, host=80),)}
ELSEWHERE = {"ports": (Port(container=8080, host=81),)}


def hive() -> Hive:
    made = Hive(2)
    made.do(PutProject(manifest=ProjectManifest(name="default", permissions=("host-network",))))
    return made


def deploy(hive: Hive, **fields: Any) -> None:
    manifest = AppManifest(name="web", replicas=2, spec=AppSpec(image="nginx", **fields))
    hive.do(DeployApp(project="default", manifest=manifest))


def told_to_stop(hive: Hive) -> int:
    return sum(1 for a in hive.state.allocations.values() if a.live and a.desired.value == "stop")


def test_each_replica_has_a_node_of_its_own() -> None:
    world = hive()
    deploy(world, **DIRECT)
    assert sorted(a.node for a in world.state.allocations.values()) == ["node-0", "node-1"]


def test_who_listens_on_the_node_goes_first() -> None:
    for after, stops in ((PUBLISHED, 1), (DIRECT | {"env": {"A": "1"}}, 1), (ELSEWHERE, 0)):
        world = hive()
        deploy(world, **DIRECT)
        deploy(world, **after)
        assert told_to_stop(world) == stops, after


def test_an_ordinary_one_starts_first() -> None:
    world = hive()
    deploy(world, **PUBLISHED)
    deploy(world, **PUBLISHED, env={"A": "1"})
    assert told_to_stop(world) == 0
