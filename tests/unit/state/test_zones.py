"""Replicas spread over zones, and what depends on others runs near them."""

from __future__ import annotations

from collections import Counter

from grown_hive import GrownHive
from hivemind.model.allocation import Allocation
from hivemind.state.operations import DrainNode, ReportCoordinates, ScaleApp


def zoned() -> GrownHive:
    """One node in `a`, two in `b`, three in `c`; the founder is in none."""
    hive = GrownHive()
    for zone, count in (("a", 1), ("b", 2), ("c", 3)):
        for number in range(count):
            hive.admit(f"{zone}{number}", labels={"zone": zone})
    hive.begun()
    hive.do(DrainNode(name="node-0"))
    return hive


def by_zone(hive: GrownHive, found: list[Allocation]) -> Counter[str]:
    return Counter(hive.state.nodes[a.node].labels.get("zone", "") for a in found)


def test_replicas_spread_over_zones_evenly() -> None:
    hive = zoned()
    hive.deploy(replicas=3)
    assert by_zone(hive, hive.live()) == {"a": 1, "b": 1, "c": 1}
    hive.do(ScaleApp(project="default", name="web", replicas=6))
    assert by_zone(hive, hive.live()) == {"a": 2, "b": 2, "c": 2}


def test_one_node_is_not_crowded_for_the_sake_of_evenness() -> None:
    hive = zoned()
    hive.deploy(replicas=12)
    zones = by_zone(hive, hive.live())
    assert zones["a"] < zones["b"] <= zones["c"]


def test_who_packs_does_not_spread() -> None:
    hive = zoned()
    hive.deploy(replicas=6, placement="binpack")
    assert len({a.node for a in hive.live()}) == 1


def test_what_a_lost_zone_had_goes_to_the_others_evenly() -> None:
    hive = zoned()
    hive.deploy(replicas=6)
    hive.settle()
    hive.lose("a0")
    assert by_zone(hive, hive.live()) == {"b": 3, "c": 3}


def test_what_depends_on_others_runs_near_them() -> None:
    hive = GrownHive("b", "c", "d")
    for name, position in (("b", (0, 0)), ("c", (1_000, 0)), ("d", (90_000, 0))):
        hive.do(ReportCoordinates(node=hive.ids[name], position=position, height=200), by=hive.ids[name])
    hive.deploy("db", constraints=("node.name==b",))
    hive.settle()
    hive.do(DrainNode(name="b"))  # the app that it depends on stays until it finds another place
    for number in range(4):
        hive.deploy(f"web{number}", depends_on={"db": "started"})
        [placed] = hive.live(f"web{number}")
        if placed.node:
            assert hive.name(placed.node) == "c"
    assert any(hive.live(f"web{number}")[0].node for number in range(4))


def test_without_coordinates_a_common_zone_is_near() -> None:
    hive = zoned()
    hive.deploy("db", constraints=("node.labels.zone==a",))
    hive.settle()
    hive.deploy("web", depends_on={"db": "started"}, placement="binpack", constraints=("node.name!=a0",))
    hive.deploy("other", depends_on={"db": "started"})
    assert by_zone(hive, hive.live("other")) == {"a": 1}
