"""A ledger of the release before jobs were known, `recorded/format-2.db`, left as after a kill: apps that run, one
that is stopped, an update in the middle, a secret that changed, and a deploy that was refused for want of a
permission."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from hivemind.ledger.local import LocalLedger
from hivemind.ledger.log import FORMAT
from ledger_hive import HIVE, Clock

pytestmark = pytest.mark.anyio

LATER = 1_800_000_000_000
RUNNING = {
    "0vh71g6qtr03": "web.1 of revision 2",
    "0ww3wb8w5tyf": "store.0 of revision 1",
    "a0a7daebq5jc": "web.0 of revision 3",
    "jwwa8spz80pb": "loop.0 of revision 1",
    "xp1rzvw1701p": "web.0 of revision 2",
}


@pytest.fixture
def left(tmp_path: Path) -> Path:
    shutil.copy(Path(__file__).parent / "recorded/format-2.db", tmp_path / "ledger.db")
    return tmp_path


async def opened(directory: Path) -> LocalLedger:
    return await LocalLedger.open(directory, hive=HIVE, clock=Clock(LATER))


async def test_what_was_agreed_is_known_and_what_was_refused_stays_refused(left: Path) -> None:
    ledger = await opened(left)
    state = ledger.state
    found = {
        a.id: f"{a.app_name}.{a.slot} of revision {a.revision}" for a in state.allocations.values() if a.live
    }
    assert found == RUNNING
    assert state.find_app("team", "bad") is None
    other = state.find_app("team", "other")
    assert other and other.stopped
    assert not len(state.jobs) and state.projects["default"].weight == 1
    assert all(node.task_slots == 16 and node.executors == ("hive",) for node in state.nodes.values())
    await ledger.close()


async def test_from_then_on_it_is_a_ledger_of_this_release(left: Path) -> None:
    ledger = await opened(left)
    digest = ledger.state.digest()
    await ledger.close()
    with sqlite3.connect(left / "ledger.db") as db:
        assert db.execute("PRAGMA user_version").fetchall() == [(FORMAT,)]
    db.close()
    again = await opened(left)
    assert again.state.digest() == digest
    await again.close()
