"""`node describe`, `drain` and `rm`: what they ask for, wait for and say."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from hivemind.errors import NotFound
from hivemind.model.node import NodeDocument
from tests.unit.cli.conftest import FakeHive, FakeList, Run, node


class FakeNodes(FakeList):
    """One node that empties by one replica with each look; `gone`: it leaves once it is empty."""

    def __init__(self, allocations: int, *, gone: bool = False, stuck: bool = False) -> None:
        super().__init__([msgspec.structs.replace(node(), allocations=allocations)])
        self.asked: list[tuple[Any, ...]] = []
        self._gone, self._stuck = gone, stuck

    def get(self, name: str, *_: Any) -> NodeDocument:
        [there] = self.items or [None]
        if there is None or there.name != name:
            raise NotFound(f"there is no {name!r}")
        if self.asked and not self._stuck:
            left = there.allocations - 1
            if left < 0 and self._gone:
                self.items = []
                raise NotFound("gone")
            self.items = [msgspec.structs.replace(there, allocations=max(left, 0))]
        return self.items[0]

    def drain(self, name: str, *, deadline: float, force: bool) -> NodeDocument:
        self.asked.append(("drain", name, deadline, force))
        return self.items[0]

    def remove(self, name: str, *, force: bool) -> NodeDocument:
        self.asked.append(("remove", name, force))
        return self.items[0]


def test_draining_tells_how_far_it_is(hive: FakeHive, run: Run) -> None:
    hive.nodes = nodes = FakeNodes(3)
    hive.bell.ring("node.drained", "", "")
    result = run("node", "drain", "node-1", "--deadline", "10m")
    assert result.out.splitlines() == [
        "2 replicas left on node-1", "1 replica left on node-1", "node-1 is drained",
    ]  # fmt: skip
    assert nodes.asked == [("drain", "node-1", 600.0, False)]


@pytest.mark.parametrize("words", [("node", "drain"), ("drain",)])
def test_draining_by_force(hive: FakeHive, run: Run, words: tuple[str, ...]) -> None:
    hive.nodes = nodes = FakeNodes(0)
    assert run(*words, "node-1", "--force").out == "node-1 is drained\n"
    assert nodes.asked == [("drain", "node-1", 0.0, True)]


def test_removing_waits_until_it_has_left(hive: FakeHive, run: Run) -> None:
    hive.nodes = nodes = FakeNodes(2, gone=True)
    result = run("node", "rm", "node-1")
    assert result.out.splitlines() == ["1 replica left on node-1", "node-1 has left the hive"]
    assert nodes.asked == [("remove", "node-1", False)]


@pytest.mark.parametrize("verb", ["drain", "rm"])
def test_what_goes_on_in_the_background(hive: FakeHive, run: Run, verb: str) -> None:
    hive.nodes = FakeNodes(2)
    said = {"drain": "node-1 is being drained\n", "rm": "node-1 is leaving\n"}
    assert run("node", verb, "node-1", "-d").out == said[verb]


@pytest.mark.parametrize(
    ("verb", "left", "why"),
    [
        ("drain", 2, "2 replicas still on node-1 after 0.01 seconds"),
        ("rm", 1, "1 replica still on node-1 after 0.01 seconds"),
        ("rm", 0, "0 replicas still on node-1 after 0.01 seconds; others do not decide in its place yet"),
    ],
)
def test_patience_ends(hive: FakeHive, run: Run, verb: str, left: int, why: str) -> None:
    hive.nodes = FakeNodes(left, stuck=True)
    result = run("node", verb, "node-1", "--timeout", "10ms")
    assert result.code == 8 and why in result.err and "node describe node-1" in result.err


SHOWN: list[tuple[dict[str, Any], str]] = [
    ({}, "ready"),
    ({"schedulable": False}, "cordoned"),
    ({"schedulable": False, "drained": True}, "drained"),
    ({"schedulable": False, "drained": True, "allocations": 1}, "draining"),
    ({"held_until": 5}, "held back"),
    ({"lost": 5, "schedulable": False}, "lost"),
    ({"leaving": 5, "drained": True, "schedulable": False}, "leaving"),
    ({"expected": True}, "expected"),
]


@pytest.mark.parametrize(("facts", "word"), SHOWN)
def test_one_word_says_what_matters_most(hive: FakeHive, run: Run, facts: dict[str, Any], word: str) -> None:
    hive.nodes = FakeList([msgspec.structs.replace(node(), zone="eu", votes=True, **facts)])
    line = run("node", "ls").out.splitlines()[1]
    assert word in line and "member" in line
    wide = run("node", "ls", "-o", "wide").out
    assert "ZONE" in wide and "eu" in wide and "VOTES" in wide


def test_describing(hive: FakeHive, run: Run) -> None:
    hive.nodes = FakeList(
        [msgspec.structs.replace(node(), addresses=("10.0.0.2:7946",), deadline=1_800_000_000_000)]
    )
    out = run("node", "describe", "node-1").out
    assert "10.0.0.2:7946" in out and "2027-01-15" in out
    assert json.loads(run("node", "describe", "node-1", "-o", "json").out)["role"] == "member"
    assert run("node", "describe", "nobody").code == 4
