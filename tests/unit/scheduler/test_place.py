"""What the scheduler decides and how it explains it."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from hivemind.model.node import Node
from hivemind.scheduler import Scheduler, place
from hivemind.scheduler.contract import Ask, Hints, Placement, Spot, Use
from hivemind.scheduler.scorers.near import distance

GIB = 2**30


def nodes(count: int, **common: object) -> dict[str, Node]:
    fields: dict[str, object] = {"cpus": 4.0, "memory": 8 * GIB, **common}
    return {f"n{i}": Node(id=f"n{i}", name=f"node-{i}", **fields) for i in range(count)}  # type: ignore[arg-type]


def asks(count: int, app: str = "web", **common: object) -> list[Ask]:
    return [Ask(id=f"{app}-{i}", app=app, **common) for i in range(count)]  # type: ignore[arg-type]


def one(
    ask: Ask, hive: dict[str, Node], uses: dict[str, Use] | None = None, hints: Hints | None = None
) -> Placement:
    [placement] = place([ask], hive, uses or {}, hints)
    return placement


def test_one_node_takes_all() -> None:
    placements = place(asks(10), nodes(1), {})
    assert {p.node for p in placements} == {"n0"}
    assert placements[0].explanation == "1 of 1 node fits"
    assert set(placements[0].scores) == {"spread", "room"}


def test_no_nodes() -> None:
    assert one(Ask(id="a", app="web"), {}) == Placement(ask="a", explanation="there are no nodes")


def test_reasons_add_up() -> None:
    hive = nodes(5)
    for id in ("n3", "n4"):
        hive[id] = Node(id=id, name=id, cpus=4.0, memory=64 * GIB, schedulable=False, drained=True)
    uses = {f"n{i}": Use(memory=7 * GIB) for i in range(3)}
    said = one(Ask(id="a", app="web", memory=2 * GIB), hive, uses).explanation
    assert said == "0 of 5 nodes fit: 3 lack 2GiB memory, 2 are drained"


def test_one_reason_for_one_node() -> None:
    said = one(Ask(id="a", app="web", memory=2 * GIB), nodes(1), {"n0": Use(memory=7 * GIB)}).explanation
    assert said == "0 of 1 node fit: 1 lacks 2GiB memory"


def test_equally_frequent_reasons_stand_in_alphabetical_order() -> None:
    hive = nodes(2)
    hive["n0"] = Node(id="n0", name="a", schedulable=False)
    hive["n1"] = Node(id="n1", name="b", arch="arm64")
    assert one(Ask(id="a", app="web", arch="amd64"), hive).explanation == (
        "0 of 2 nodes fit: 1 cannot run amd64 images, 1 is cordoned"
    )


def test_replicas_spread_evenly() -> None:
    placements = place(asks(30), nodes(10), {})
    assert set(Counter(p.node for p in placements).values()) == {3}


def test_spread_counts_what_is_there() -> None:
    uses = {"n0": Use(apps={"web": 2}), "n1": Use(apps={"web": 1})}
    assert Counter(p.node for p in place(asks(3), nodes(3), uses)) == {"n2": 2, "n1": 1}


def test_spreading_prefers_the_emptier_node() -> None:
    uses = {"n0": Use(memory=6 * GIB), "n1": Use(memory=GIB)}
    assert one(Ask(id="a", app="web", memory=GIB), nodes(2), uses).node == "n1"


def test_packing_fills_one_node_before_the_next() -> None:
    placements = place(asks(8, memory=2 * GIB, placement="binpack"), nodes(4), {})
    assert sorted(Counter(p.node for p in placements).values()) == [4, 4]


def test_an_image_that_is_there_decides_between_equals() -> None:
    hints = Hints(images={"nginx": frozenset({"n2", "elsewhere"})})
    assert all(
        one(Ask(id=f"a{i}", app="web", image="nginx"), nodes(4), hints=hints).node == "n2" for i in range(9)
    )


def test_spreading_outweighs_images() -> None:
    hints = Hints(images={"nginx": frozenset({"n2"})})
    placements = place(asks(4, image="nginx"), nodes(4), {}, hints)
    assert len({p.node for p in placements}) == 4


FAR = {
    "n0": Node(id="n0", name="n0", cpus=4.0, memory=8 * GIB, position=(80_000, 0)),
    "n1": Node(id="n1", name="n1", cpus=4.0, memory=8 * GIB, position=(1_000, 0)),
    "n2": Node(id="n2", name="n2", cpus=4.0, memory=8 * GIB),
}


def test_a_node_near_what_it_depends_on_wins_between_equals() -> None:
    near = (Spot("elsewhere", "", (0, 0), 100),)
    for number in range(9):
        assert one(Ask(id=f"a{number}", app="web", near=near), FAR).node == "n1"
    assert one(Ask(id="a", app="web", near=(Spot("n0", "", (80_000, 0)),)), FAR).node == "n0"


@pytest.mark.parametrize(
    ("here", "there", "way"),
    [
        (Spot("a"), Spot("a", "eu", (1, 2)), 0),
        (Spot("a", "", (0, 0), 10), Spot("b", "", (3_000, 4_000), 20), 5_030),
        (Spot("a", "eu", (0, 0)), Spot("b", "eu"), 2_000),
        (Spot("a", "eu"), Spot("b", "eu", (5, 5)), 2_000),
        (Spot("a", "eu", (0, 0)), Spot("b", "eu", (0, 0, 0)), 2_000),
        (Spot("a", "eu"), Spot("b", "us"), None),
        (Spot("a"), Spot("b"), None),
    ],
)
def test_how_far_it_is(here: Spot, there: Spot, way: int | None) -> None:
    assert distance(here, there) == way == distance(there, here)


def test_the_zone_that_is_due_outweighs_room_and_not_that_a_node_is_crowded() -> None:
    hints = Hints(zones={"eu": frozenset({"n0"}), "us": frozenset({"n1", "n2"})})
    there = {id: msgspec.structs.replace(node, labels={"zone": zone}, position=()) for (id, node), zone in
             zip(FAR.items(), ("eu", "us", "us"), strict=True)}  # fmt: skip
    ask = Ask(id="a", app="web", zone="eu")
    full = {"n0": Use(memory=7 * GIB, apps={"other": 20})}
    assert one(ask, there, full, hints=hints).node == "n0"
    one_there = {"n0": Use(apps={"web": 2}), "n1": Use(apps={"web": 1}), "n2": Use(apps={"web": 1})}
    assert one(ask, there, one_there, hints=hints).node == "n0"
    assert one(ask, there, {"n0": Use(apps={"web": 2})}, hints=hints).node in ("n1", "n2")
    assert one(msgspec.structs.replace(ask, zone="asia"), there, full, hints=hints).node in ("n1", "n2")


def test_higher_priority_comes_first() -> None:
    low, high = Ask(id="a", app="low", memory=8 * GIB), Ask(id="z", app="high", memory=8 * GIB, priority=60)
    placements = {p.ask: p for p in place([low, high], nodes(1), {})}
    assert placements["z"].node == "n0"
    assert placements["a"].explanation == "0 of 1 node fit: 1 lacks 8GiB memory"


def test_a_port_taken_in_this_round_is_taken() -> None:
    both = [Ask(id=app, app=app, host_ports=("80/tcp",)) for app in ("api", "web")]
    placements = place(both, nodes(1), {})
    assert [p.node for p in placements] == ["n0", ""]
    assert placements[1].explanation == "0 of 1 node fit: 1 already publishes port 80/tcp for another app"


def test_replicas_of_one_app_share_a_published_port() -> None:
    assert all(p.node for p in place(asks(3, host_ports=("80/tcp",)), nodes(1), {}))


def test_an_avoided_node_is_the_last_resort() -> None:
    assert {one(Ask(id=f"a{i}", app="web", avoid=("n0",)), nodes(2)).node for i in range(9)} == {"n1"}
    placement = one(Ask(id="a", app="web", avoid=("n0", "gone")), nodes(1))
    assert placement.node == "n0"
    assert placement.explanation == "1 of 1 node fits; it failed here before, but no other node fits"


def test_a_node_that_is_held_back_is_the_last_resort() -> None:
    held = {**nodes(2), "n0": msgspec.structs.replace(nodes(2)["n0"], held_until=5)}
    assert {one(Ask(id=f"a{i}", app="web"), held).node for i in range(9)} == {"n1"}
    placement = one(Ask(id="a", app="web"), {"n0": held["n0"]})
    assert placement.node == "n0"
    assert placement.explanation == "1 of 1 node fits; it was lost often lately, but no other node fits"


def test_ties_do_not_all_fall_on_one_node() -> None:
    chosen = {one(Ask(id=f"a{i}", app=f"app-{i}"), nodes(10)).node for i in range(100)}
    assert len(chosen) == 10


def test_a_scheduler_remembers_what_it_placed() -> None:
    scheduler = Scheduler(nodes(2), {})
    [first] = scheduler.place([Ask(id="a", app="web", memory=6 * GIB)])
    [second] = scheduler.place([Ask(id="b", app="db", memory=6 * GIB)])
    [third] = scheduler.place([Ask(id="c", app="mq", memory=6 * GIB)])
    assert {first.node, second.node} == {"n0", "n1"}
    assert third.explanation == "0 of 2 nodes fit: 2 lack 6GiB memory"
