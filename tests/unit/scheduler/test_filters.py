"""Each filter alone: whom it refuses, and with what words."""

from __future__ import annotations

from typing import Any

import pytest

from hivemind.errors import Invalid
from hivemind.model.node import Node
from hivemind.scheduler import parse_constraint
from hivemind.scheduler.contract import Ask, Use
from hivemind.scheduler.filters import FILTERS
from hivemind.scheduler.load import Load

GIB = 2**30
NODE = Node(id="aa", name="one", cpus=2.0, memory=4 * GIB, runtimes=("oci",), labels={"zone": "eu"})


def refusal(name: str, ask: Ask, node: Node = NODE, use: Use | None = None) -> str:
    """What the filter says of one node; empty when it lets the ask pass."""
    rule = FILTERS[name]
    if not rule.concerns(ask):
        return ""
    reason = rule.check(node, Load(use), ask)
    return reason.one if reason else ""


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({}, ""),
        ({"schedulable": False}, "is cordoned"),
        ({"schedulable": False, "drained": True}, "is drained"),
        ({"schedulable": False, "drained": True, "leaving": 5}, "is leaving"),
        ({"lost": 5}, "is lost"),
        ({"lost": 5, "schedulable": False, "drained": True}, "is lost"),
        ({"expected": True}, "is not there yet"),
        ({"role": "witness"}, "is a witness"),
        ({"role": "worker"}, ""),
        ({"held_until": 5, "schedulable": False}, "is cordoned"),
    ],
)
def test_who_takes_nothing_and_why(facts: dict[str, Any], reason: str) -> None:
    node = Node(id="n", name="n", **facts)
    assert refusal("presence", Ask(id="a", app="web"), node) == reason
    assert node.usable == (not reason)


def test_resources_count_what_is_set_aside() -> None:
    use = Use(cpus=1.5, memory=3 * GIB)
    assert refusal("resources", Ask(id="a", app="web", cpus=0.5, memory=GIB), use=use) == ""
    assert refusal("resources", Ask(id="a", app="web", memory=2 * GIB), use=use) == "lacks 2GiB memory"
    assert refusal("resources", Ask(id="a", app="web", cpus=1), use=use) == "lacks 1 core"
    both = refusal("resources", Ask(id="a", app="web", cpus=0.75, memory=2 * GIB), use=use)
    assert both == "lacks 2GiB memory and 0.75 cores"


def test_asking_for_nothing_fits_a_full_node() -> None:
    assert refusal("resources", Ask(id="a", app="web"), use=Use(cpus=99, memory=99 * GIB)) == ""


def test_tenths_of_a_core_add_up_exactly() -> None:
    load = Load()
    ask = Ask(id="a", app="web", cpus=0.1)
    node = Node(id="n", name="n", cpus=1.0)
    placed = 0
    while FILTERS["resources"].check(node, load, ask) is None:
        load.add(ask)
        placed += 1
    assert placed == 10


def test_a_published_port_belongs_to_one_app() -> None:
    use = Use(ports={"8080/tcp": "web"})
    assert refusal("ports", Ask(id="a", app="web", host_ports=("8080/tcp",)), use=use) == ""
    assert refusal("ports", Ask(id="a", app="api", host_ports=("8080/udp",)), use=use) == ""
    said = refusal("ports", Ask(id="a", app="api", host_ports=("8080/tcp",)), use=use)
    assert said == "already publishes port 8080/tcp for another app"


def test_platform_and_runtime() -> None:
    assert refusal("platform", Ask(id="a", app="web", os="linux", arch="amd64", runtime="oci")) == ""
    assert refusal("platform", Ask(id="a", app="web", arch="arm64")) == "cannot run arm64 images"
    assert (
        refusal("platform", Ask(id="a", app="web", os="linux", arch="arm64"))
        == "cannot run linux/arm64 images"
    )
    assert (
        refusal("platform", Ask(id="a", app="web", runtime="process")) == "does not offer the process runtime"
    )


@pytest.mark.parametrize(
    ("constraint", "passes"),
    [
        ("node.labels.zone==eu", True),
        ("node.labels.zone == eu", True),
        ("node.labels.zone==us", False),
        ("node.labels.zone!=us", True),
        ("node.labels.zone!=eu", False),
        ("node.labels.disk==ssd", False),
        ("node.labels.disk!=ssd", True),
        ("node.name==one", True),
        ("node.name!=one", False),
        ("node.id==aa", True),
        ("node.arch==amd64", True),
        ("node.os!=linux", False),
    ],
)
def test_constraints(constraint: str, passes: bool) -> None:
    said = refusal("constraints", Ask(id="a", app="web", constraints=(constraint,)))
    assert said == ("" if passes else f"does not match {constraint}")


def test_every_constraint_must_hold() -> None:
    constraints = ("node.labels.zone==eu", "node.os==windows")
    said = refusal("constraints", Ask(id="a", app="web", constraints=constraints))
    assert said == "does not match node.os==windows"


@pytest.mark.parametrize(
    "text",
    ["", "zone", "node.labels.zone", "node.labels.zone=eu", "node.labels.zone===eu", "node.labels.zone==",
     "node.labels.==eu", "labels.zone==eu", "node.colour==red", "node.name<5", "==eu", "node.name==a\nb"],
)  # fmt: skip
def test_a_constraint_that_makes_no_sense_says_how_to_write_one(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_constraint(text)
    assert repr(text) in caught.value.message
    assert "node.labels.zone==eu" in caught.value.hint


def test_a_constraint_nobody_validated_refuses_the_node_instead_of_raising() -> None:
    said = refusal("constraints", Ask(id="a", app="web", constraints=("node.mood==good",)))
    assert said == "does not understand 'node.mood==good'"


def test_gpus_are_whole_and_counted() -> None:
    node, ask = Node(id="n", name="n", cpus=4, memory=2**30, gpus=4), Ask(id="a", app="app", gpus=2)
    assert refusal("resources", ask, node) == ""
    assert refusal("resources", ask, node, Use(gpus=3)) == "lacks 2 GPUs"
    assert refusal("resources", Ask(id="a", app="app", gpus=1), NODE) == "lacks 1 GPU"


def test_replicas_that_listen_on_the_node_itself_do_not_share_it() -> None:
    ask = Ask(id="a", app="app", host_ports=("80/tcp",), alone=True)
    assert refusal("ports", ask) == ""
    assert refusal("ports", ask, use=Use(ports={"80/tcp": "app"})) == "has a replica on these ports already"
    assert "another app" in refusal("ports", ask, use=Use(ports={"80/tcp": "other"}))
