"""A ledger of the release before hives of several nodes, `recorded/format-3.db`, left as after a kill: apps, one of
them in the middle of an update, and a run of a job with one task begun."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from hivemind.ledger.local import LocalLedger
from hivemind.ledger.log import FORMAT
from ledger_hive import HIVE, Clock, put

pytestmark = pytest.mark.anyio

LATER = 1_800_000_000_000
RUNNING = {
    "1ezhtdepk7cm": "web.1 of revision 1",
    "c6k1mdycgdpy": "box.0 of revision 1",
    "g2zcpet3ztx8": "web.0 of revision 2",
    "g5w42ca2yh4b": "web.0 of revision 1",
}
TABLES = {"certificate", "record", "record_head", "epoch", "proof"}


@pytest.fixture
def left(tmp_path: Path) -> Path:
    shutil.copy(Path(__file__).parent / "recorded/format-3.db", tmp_path / "ledger.db")
    return tmp_path


def rows(directory: Path, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(directory / "ledger.db") as db:
        found = db.execute(query).fetchall()
    db.close()
    return found


async def test_what_was_agreed_is_known_and_it_becomes_a_ledger_of_this_release(left: Path) -> None:
    assert rows(left, "PRAGMA user_version") == [(3,)]
    ledger = await LocalLedger.open(left, hive=HIVE, clock=Clock(LATER))
    state = ledger.state
    found = {
        a.id: f"{a.app_name}.{a.slot} of revision {a.revision}" for a in state.allocations.values() if a.live
    }
    assert {id: what for id, what in found.items() if id in RUNNING} == RUNNING
    assert [run.name for run in state.runs.values()] == ["nightly-1"]
    assert state.projects["team"].labels == {"colour": "red"}
    await put(ledger, "later")
    digest = state.digest()
    await ledger.close()
    assert rows(left, "PRAGMA user_version") == [(FORMAT,)]
    assert {name for (name,) in rows(left, "SELECT name FROM sqlite_schema")} >= TABLES
    again = await LocalLedger.open(left, hive=HIVE, clock=Clock(LATER))
    assert again.state.digest() == digest
    await again.close()
