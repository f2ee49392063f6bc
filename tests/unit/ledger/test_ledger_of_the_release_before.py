"""The release before this one was killed, and this one starts on what it left.

`recorded/format-1.db` is such a ledger, as a real daemon of that release wrote it: apps with checks and ports, a
stopped one, one that ended, two that fail, an update that failed and was taken back, and one in the middle.
"""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from hivemind.errors import Corrupt, Unavailable
from hivemind.ledger.local import LocalLedger
from hivemind.ledger.log import FORMAT, Log
from hivemind.state.state import State
from ledger_hive import Clock

pytestmark = pytest.mark.anyio

HIVE = "zgt4ztbe4hkhbza7"
LATER = 1_800_000_000_000
BATCHES = 33


@pytest.fixture
def left(tmp_path: Path) -> Path:
    shutil.copy(Path(__file__).parent / "recorded/format-1.db", tmp_path / "ledger.db")
    return tmp_path


async def opened(directory: Path) -> LocalLedger:
    return await LocalLedger.open(directory, hive=HIVE, clock=Clock(LATER))


def rows(directory: Path, query: str) -> list[tuple[int, ...]]:
    with sqlite3.connect(directory / "ledger.db") as db:
        found = db.execute(query).fetchall()
    db.close()
    return found


def live(state: State) -> dict[str, str]:
    """Ids of the containers that a daemon has to find again, and what each is of."""
    found = [a for a in state.allocations.values() if a.live]
    return {a.id: f"{a.app_name}.{a.slot} of revision {a.revision}" for a in found}


RUNNING = {
    "2v2gf4c13b5n": "box.0 of revision 1",
    "3c9pc2kbz4e7": "loop.0 of revision 1",
    "yxr352668z36": "web-app.0 of revision 2",
    "9r81z2yew3ns": "web-app.1 of revision 2",
    "rbn6119jwgt9": "web-app.0 of revision 4",
}


async def test_what_was_agreed_is_known(left: Path) -> None:
    ledger = await opened(left)
    state = ledger.state
    assert live(state) == RUNNING
    assert {a.name for a in state.apps.values()} == {"web-app", "box", "stopped", "once", "bad", "loop"}
    assert set(state.projects) == {"default", "team"}
    stopped, web = state.find_app("default", "stopped"), state.find_app("default", "web-app")
    assert stopped and stopped.stopped
    assert web and [r.number for r in state.revisions_of(web)] == [1, 2, 3, 4]
    under_way = state.running_deployment(web.id)
    assert under_way and (under_way.source, under_way.target, under_way.done) == (2, 4, 0)
    await ledger.close()


async def test_from_then_on_it_is_a_ledger_of_this_release(left: Path) -> None:
    """Even if it dies at once; and every digest is compared again."""
    ledger = await opened(left)
    digest = ledger.state.digest()
    ledger.journal.log.close()
    ledger.engine._timer.cancel()
    ledger.journal._lock.release()
    assert rows(left, "PRAGMA user_version") == [(FORMAT,)]
    assert rows(left, "SELECT sequence FROM checkpoint") == [(BATCHES,)]
    again = await opened(left)
    assert again.state.digest() == digest and live(again.state) == RUNNING
    await again.close()


async def test_a_damaged_batch_is_found_all_the_same(left: Path) -> None:
    rows(left, "UPDATE batch SET body = CAST(body || x'00' AS BLOB) WHERE sequence = 5")
    with pytest.raises(Corrupt, match="batch 5 does not match its hash"):
        await opened(left)
    assert rows(left, "PRAGMA user_version") == [(1,)]


async def test_without_room_for_the_new_format_the_old_one_stays(
    left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise Unavailable("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Log, "checkpoint", full)
        with pytest.raises(Unavailable, match="full"):
            await opened(left)
    assert rows(left, "PRAGMA user_version") == [(1,)]
    ledger = await opened(left)
    assert live(ledger.state) == RUNNING
    await ledger.close()
