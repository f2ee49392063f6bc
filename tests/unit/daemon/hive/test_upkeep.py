"""What a node tells its hive about itself, in which order, and until it is heard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from msgspec.structs import replace

from hivemind.daemon.hive.upkeep import Upkeep
from hivemind.errors import Unavailable
from hivemind.model.hive import NodeRole
from hivemind.model.node import Node
from hivemind.state.operations import Operation, ReadyToVote
from hivemind.state.state import Outcome, State

pytestmark = pytest.mark.anyio


class World:
    """The ledger, as the upkeep sees it."""

    def __init__(self) -> None:
        self.state = State("hive")
        self.level = asyncio.Event()
        self.level.set()
        self.deaf = 0
        self.did: list[str] = []
        self.changed = asyncio.Event()
        self.upkeep = Upkeep(
            node="me", ledger=self, register=self.register, report=self.report, gone=lambda: self.note("gone")
        )

    def is_agreed(self, **facts: object) -> None:
        known = self.state.nodes.get("me") or Node(
            id="me", name="me", cpus=1.0, memory=1, arch="x", runtimes=(), incarnation=4
        )
        self.state.tables.put(self.state.nodes, "me", replace(known, **facts))
        self.upkeep.look()

    def note(self, what: str) -> None:
        self.did.append(what)
        self.changed.set()

    async def caught_up(self) -> None:
        await self.level.wait()

    def _hear(self) -> None:
        if self.deaf:
            self.deaf -= 1
            self.note("in vain")
            raise Unavailable("the hive cannot decide now")

    async def register(self, incarnation: int) -> None:
        self._hear()
        self.note(f"registered {incarnation}")
        self.is_agreed(incarnation=incarnation, lost=0, expected=False)

    async def report(self, operation: Operation) -> Outcome:
        self._hear()
        assert operation == ReadyToVote(node="me")
        self.note("ready")
        self.is_agreed(ready=7)
        return Outcome()

    async def until(self, *did: str) -> None:
        await self.settled(lambda: self.did == list(did))

    async def settled(self, true: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(10):
                while not true():
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            raise AssertionError(self.did) from None


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr("hivemind.daemon.hive.upkeep._AGAIN", 0.001)
    made = World()
    yield made
    await made.upkeep.stop()


async def test_each_life_registers_and_then_says_that_it_can_decide(world: World) -> None:
    world.is_agreed()
    world.upkeep.start()
    await world.until("registered 5", "ready")
    assert world.upkeep.registered.is_set()


async def test_nothing_is_said_before_everything_is_known(world: World) -> None:
    world.level.clear()
    world.is_agreed()
    world.upkeep.start()
    await asyncio.sleep(0)
    world.is_agreed(incarnation=9)  # what another start of it said, and this one has yet to learn
    assert world.did == []
    world.level.set()
    await world.until("registered 10", "ready")


@pytest.mark.parametrize(("role", "said"), [("worker", []), ("witness", ["ready"])])
async def test_a_worker_never_says_that_it_can_decide(world: World, role: NodeRole, said: list[str]) -> None:
    world.is_agreed(role=role)
    world.upkeep.start()
    await world.until("registered 5", *said)


async def test_a_node_that_was_lost_comes_back_with_another_life(world: World) -> None:
    world.is_agreed()
    world.upkeep.start()
    await world.until("registered 5", "ready")
    world.is_agreed(lost=1, ready=0)
    await world.until("registered 5", "ready", "registered 6", "ready")


async def test_what_was_not_heard_is_said_again(world: World) -> None:
    world.deaf = 3
    world.is_agreed()
    world.upkeep.start()
    await world.until("in vain", "in vain", "in vain", "registered 5", "ready")


async def test_that_it_is_not_of_the_hive_any_more_counts_once_all_is_known(world: World) -> None:
    world.level.clear()
    world.upkeep.start()
    await asyncio.sleep(0)
    assert world.did == []
    world.level.set()
    await world.until("gone")
