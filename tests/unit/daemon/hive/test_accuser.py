"""What a node says about others that it does not reach, and takes back."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from hivemind.daemon.hive.accuser import Accuser
from hivemind.errors import Unavailable
from hivemind.model.hive import Accusation, Epoch, Hive
from hivemind.model.node import Node
from hivemind.state.losing import WINDOW
from hivemind.state.operations import AccuseNode, AcquitNode, Operation
from hivemind.state.state import Outcome, State

pytestmark = pytest.mark.anyio


def hive_of(*names: str) -> State:
    """All of them vote."""
    state = State("hive")
    epoch = Epoch(number=1, since=1, voters=tuple(sorted(names)))
    state.tables.put(state.hives, "hive", Hive(id="hive", name="hive", epoch=epoch))
    for name in names:
        node = Node(id=name, name=name, cpus=1.0, memory=1, arch="x", runtimes=(), incarnation=3)
        state.tables.put(state.nodes, name, node)
    return state


def accuse(state: State, accused: str, accuser: str, *, incarnation: int = 3, time: int = 0) -> None:
    said = Accusation(accused=accused, accuser=accuser, incarnation=incarnation, time=time)
    state.tables.put(state.accusations, said.key, said)


class World:
    def __init__(self, state: State, me: str = "a") -> None:
        self.state = state
        self.gone: set[str] = set()
        self.back: set[str] = set()
        self.said: list[Operation] = []
        self.deaf = 0
        self.heard = asyncio.Event()
        self.accuser = Accuser(
            node=me,
            state=state,
            gone=lambda: frozenset(self.gone),
            back=lambda node: node in self.back,
            report=self.report,
        )

    async def report(self, operation: Operation) -> Outcome:
        self.heard.set()
        if self.deaf:
            self.deaf -= 1
            raise Unavailable("the hive cannot decide now")
        self.said.append(operation)
        if isinstance(operation, AccuseNode):
            accuse(self.state, operation.node, "a", incarnation=operation.incarnation)
        return Outcome()


def test_who_is_not_reached_is_accused_of_its_present_life_once() -> None:
    world = World(hive_of("a", "b", "c"))
    world.gone = {"b", "stranger"}
    assert world.accuser.wishes() == [AccuseNode(node="b", incarnation=3)]
    accuse(world.state, "b", "a")
    assert world.accuser.wishes() == []
    accuse(world.state, "b", "a", incarnation=2)
    assert world.accuser.wishes() == [AccuseNode(node="b", incarnation=3)]


def test_an_accusation_is_repeated_before_it_is_void() -> None:
    world = World(hive_of("a", "b", "c"))
    world.gone = {"b"}
    accuse(world.state, "b", "a")
    world.state.time = WINDOW // 2
    assert world.accuser.wishes() == []
    world.state.time += 1
    assert world.accuser.wishes() == [AccuseNode(node="b", incarnation=3)]


def test_only_who_answers_is_acquitted_and_only_of_ones_own_accusation() -> None:
    world = World(hive_of("a", "b", "c"))
    accuse(world.state, "b", "a")
    accuse(world.state, "c", "b")
    assert world.accuser.wishes() == []  # nothing is known of either: this node has just begun
    world.back = {"b", "c"}
    assert world.accuser.wishes() == [AcquitNode(node="b")]


def test_who_is_lost_already_is_not_accused() -> None:
    world = World(hive_of("a", "b", "c"))
    world.gone = {"b"}
    world.state.tables.put(world.state.nodes, "b", replace(world.state.nodes["b"], lost=5))
    assert world.accuser.wishes() == []


@pytest.mark.parametrize("me", ["worker", "nobody"])
def test_whose_word_does_not_count_says_nothing(me: str) -> None:
    state = hive_of("a", "b", "c")
    node = Node(id="worker", name="w", role="worker", cpus=1.0, memory=1, arch="x", runtimes=())
    state.tables.put(state.nodes, "worker", node)
    world = World(state, me)
    world.gone = {"b"}
    assert world.accuser.wishes() == []


async def test_what_nobody_could_agree_to_is_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hivemind.daemon.hive.accuser._AGAIN", 0.001)
    world = World(hive_of("a", "b", "c"))
    world.deaf = 2
    world.accuser.start()
    world.gone = {"b"}
    world.accuser.look()
    async with asyncio.timeout(10):
        while not world.said:
            world.heard.clear()
            await world.heard.wait()
    await world.accuser.stop()
    assert world.said == [AccuseNode(node="b", incarnation=3)] and world.deaf == 0


def test_who_said_that_it_will_be_back_is_not_accused_before_its_time_is_over() -> None:
    world = World(hive_of("a", "b", "c"))
    world.gone = {"b"}
    waits = replace(world.state.nodes["b"], restarting=60_000)
    world.state.tables.put(world.state.nodes, "b", waits)
    assert world.accuser.wishes() == []
    world.state.tables.put(world.state.nodes, "b", replace(waits, restarting=0))
    assert world.accuser.wishes() == [AccuseNode(node="b", incarnation=3)]
