"""What a daemon says before it stops, and when it says nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from hivemind.daemon.hive import farewell
from hivemind.errors import Conflict, HivemindError
from hivemind.ledger.contract import LedgerStatus
from hivemind.model.node import Node
from hivemind.state.operations import AnnounceRestart, Operation
from hivemind.state.state import Outcome, State

pytestmark = pytest.mark.anyio
STATUS = LedgerStatus(engine="pbft", role="voter", sequence=9, agreed=9, can_decide=True)


def hive_of(*names: str, **mine: Any) -> State:
    state = State("hive")
    for name in names:
        node = Node(id=name, name=name, incarnation=3)
        state.tables.put(state.nodes, name, replace(node, **mine) if name == "a" else node)
    return state


async def said(state: State, *, grace: int = 60_000, can_decide: bool = True) -> list[Operation]:
    heard: list[Operation] = []

    async def report(operation: Operation) -> Outcome:
        heard.append(operation)
        return Outcome()

    status = STATUS if can_decide else replace(STATUS, can_decide=False)
    await farewell.announce_restart(node="a", state=state, status=status, grace=grace, report=report)
    return heard


async def test_it_says_for_how_long_in_its_present_life() -> None:
    assert await said(hive_of("a", "b")) == [AnnounceRestart(node="a", incarnation=3, grace=60_000)]


async def test_who_has_nobody_to_wait_for_it_says_nothing() -> None:
    assert not await said(hive_of("a"))
    assert not await said(hive_of("b", "c"))
    assert not await said(hive_of("a", "b", lost=5))
    assert not await said(hive_of("a", "b"), grace=0)
    assert not await said(hive_of("a", "b"), can_decide=False)


@pytest.mark.parametrize("error", [Conflict("it was away too often"), None])
async def test_it_goes_also_when_nobody_agrees(
    error: HivemindError | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(farewell, "_PATIENCE", 0.001)

    async def report(operation: Operation) -> Outcome:
        if error:
            raise error
        await asyncio.Event().wait()
        raise AssertionError

    async with asyncio.timeout(20):
        await farewell.announce_restart(
            node="a", state=hive_of("a", "b"), status=STATUS, grace=60_000, report=report
        )
    assert "does not wait" in caplog.text if error else "has not heard" in caplog.text
