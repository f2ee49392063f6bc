"""SIGKILL and a full disk, for real."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from hivemind.errors import Unavailable
from hivemind.ledger.local import Settings
from ledger_hive import Clock, founded, open_ledger, put

pytestmark = pytest.mark.anyio

ROUNDS = 25

_WRITER = """
import asyncio, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from ledger_hive import Clock, found, open_ledger, put, wish
from hivemind.ledger.local import Settings

async def write(ledger, name):
    await put(ledger, name, nonce=name)
    sys.stdout.write(name + "\\n")
    sys.stdout.flush()

async def main():
    ledger = await open_ledger(Path(sys.argv[1]), Clock(), Settings(checkpoint_batches=7))
    if not ledger.state.sequence:
        await ledger.submit(wish(found(), nonce="found"))
    start = ledger.state.sequence
    for turn in range(10**6):
        await asyncio.gather(*(write(ledger, f"p{start}-{turn}-{i}") for i in range(3)))

asyncio.run(main())
"""


def _write_until_killed(directory: Path, lines: int) -> list[str]:
    """What a writing process said was done before and while it was killed, after at least `lines` lines."""
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(directory), *sys.path], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout
    said = []
    try:
        for _ in range(lines):
            said.append(writer.stdout.readline())
            assert said[-1].endswith("\n")
    finally:
        writer.kill()
    rest, _ = writer.communicate()
    said += rest.splitlines(keepends=True)
    return [line.strip() for line in said if line.endswith("\n")]


@pytest.mark.slow
async def test_killed_again_and_again_every_acknowledged_operation_is_there_once(tmp_path: Path) -> None:
    dice = random.Random(7)
    acknowledged: list[str] = []
    for _ in range(ROUNDS):
        acknowledged += _write_until_killed(tmp_path, dice.randrange(1, 60))
        ledger = await open_ledger(tmp_path, settings=Settings(checkpoint_batches=7))
        assert set(acknowledged) <= set(ledger.state.projects)
        # Once each: a project that had been put twice would have another version.
        assert {ledger.state.projects[name].version for name in acknowledged} == {1}
        sequence = ledger.state.sequence
        assert (await put(ledger, acknowledged[-1], nonce=acknowledged[-1])).outcome.version == 1
        assert ledger.state.sequence == sequence + 1
        await ledger.close()
    assert len(acknowledged) == len(set(acknowledged))


async def test_a_full_disk_refuses_and_space_brings_it_back(tmp_path: Path) -> None:
    ledger = await founded(tmp_path, settings=Settings(checkpoint_batches=10**6))
    pages = ledger.journal.log._db.execute("PRAGMA page_count").fetchone()[0]
    ledger.journal.log._db.execute(f"PRAGMA max_page_count={pages + 4}")
    accepted = 0
    with pytest.raises(Unavailable, match="full") as refusal:
        for accepted in range(1000):
            await put(ledger, f"p{accepted}", nonce=f"p{accepted}")
    assert refusal.value.hint
    assert len(ledger.state.projects) == accepted
    head = ledger.journal.log.head()
    assert head is not None
    assert head[0] == ledger.state.sequence
    ledger.journal.log._db.execute("PRAGMA max_page_count=1000000")
    await put(ledger, f"p{accepted}", nonce=f"p{accepted}")
    digest = ledger.state.digest()
    await ledger.close()
    again = await open_ledger(tmp_path)
    assert again.state.digest() == digest
    assert len(again.state.projects) == accepted + 1
    await again.close()


async def test_a_checkpoint_that_finds_no_room_costs_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = await founded(tmp_path)
    for index in range(60):
        await put(ledger, f"p{index}")
    pages = ledger.journal.log._db.execute("PRAGMA page_count").fetchone()[0]
    ledger.journal.log._db.execute(f"PRAGMA max_page_count={pages}")
    await ledger.close()
    assert "was not written" in caplog.text
    again = await open_ledger(tmp_path)
    assert len(again.state.projects) == 60
    await again.close()


async def test_a_disk_error_is_told_to_everyone_who_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = await founded(tmp_path)

    with monkeypatch.context() as patch:
        patch.setattr(
            ledger.journal.log,
            "append",
            lambda *_: ledger.journal.log._abort(sqlite3.OperationalError("disk I/O error")),
        )
        answers = await asyncio.gather(*(put(ledger, f"p{i}") for i in range(5)), return_exceptions=True)
    assert all(isinstance(answer, Unavailable) for answer in answers)
    await put(ledger, "p0")
    await ledger.close()


async def test_a_state_that_cannot_apply_stops_the_ledger_aloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = await founded(tmp_path)

    def broken(*_: object) -> None:
        raise AssertionError("defect")

    monkeypatch.setattr(ledger.state, "apply", broken)
    for name in ("a", "b"):
        with pytest.raises(Unavailable):
            await put(ledger, name)
    assert "defect" in caplog.text
    await ledger.close()
    monkeypatch.undo()
    again = await open_ledger(tmp_path, Clock())
    assert list(again.state.projects) == ["a"]
    await again.close()
