"""What one node's ledger promises while it runs."""

from __future__ import annotations

import asyncio
import itertools
import os
import sqlite3
from pathlib import Path

import pytest
from msgspec.structs import replace

from hivemind.errors import (
    Conflict,
    Corrupt,
    Forbidden,
    Invalid,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from hivemind.ledger import chain
from hivemind.ledger.contract import Batch
from hivemind.ledger.local import LocalLedger, Settings
from hivemind.security.envelope import seal
from hivemind.security.identity import Identity
from hivemind.state.operations import RaiseEvent, StopApp
from ledger_hive import FOUNDER, HIVE, Clock, found, founded, open_ledger, project, put, wish

pytestmark = pytest.mark.anyio


async def test_an_operation_is_applied_and_there_after_reopening(tmp_path: Path) -> None:
    ledger = await founded(tmp_path)
    receipt = await put(ledger, "shop")
    assert receipt.sequence == 2
    assert receipt.outcome.id == "shop"
    digest = ledger.state.digest()
    await ledger.close()
    again = await open_ledger(tmp_path)
    assert list(again.state.projects) == ["shop"]
    assert again.state.digest() == digest
    await again.close()


async def test_operations_that_arrive_together_share_batches(tmp_path: Path) -> None:
    ledger = await founded(tmp_path)
    batches: list[Batch] = []
    ledger.subscribe(batches.append)
    receipts = await asyncio.gather(*(put(ledger, f"p{i}") for i in range(100)))
    assert len(ledger.state.projects) == 100
    assert len(batches) <= 2
    assert sum(len(batch.envelopes) for batch in batches) == 100
    assert {receipt.sequence for receipt in receipts} == {batch.sequence for batch in batches}
    await ledger.close()


async def test_batches_form_a_chain(tmp_path: Path) -> None:
    ledger = await open_ledger(tmp_path)
    batches: list[Batch] = []
    ledger.subscribe(batches.append)
    await ledger.submit(wish(found()))
    await put(ledger, "a")
    await put(ledger, "b")
    assert [batch.sequence for batch in batches] == [1, 2, 3]
    assert batches[0].previous == chain.GENESIS
    for before, after in itertools.pairwise(batches):
        assert after.previous == chain.link(chain.encode(before))
    await ledger.close()


async def test_a_refusal_is_raised_as_its_error_and_the_next_one_is_served(tmp_path: Path) -> None:
    ledger = await founded(tmp_path)
    with pytest.raises(Forbidden) as refusal:
        await ledger.submit(wish(project("shop"), by=Identity(bytes(32))))
    assert "not known" in refusal.value.message
    assert refusal.value.hint
    await put(ledger, "shop")
    await ledger.close()


async def test_a_bad_signature_is_refused_before_it_costs_anything(tmp_path: Path) -> None:
    ledger = await founded(tmp_path)
    good = wish(project("shop"))
    forged = [
        replace(good, nonce="other"),
        replace(good, payload=wish(project("pub")).payload),
        replace(good, signer=Identity(bytes(32)).public),
        replace(good, signature=b""),
        wish(project("shop"), hive="another-hive"),
        replace(wish(project("shop"), hive="another-hive"), hive=HIVE),
    ]
    for envelope in forged:
        with pytest.raises(Unauthenticated):
            await ledger.submit(envelope)
    assert ledger.state.sequence == 1
    await ledger.close()


async def test_nonsense_and_giants_are_refused(tmp_path: Path) -> None:
    ledger = await founded(tmp_path, settings=Settings(operation_size=1000))
    with pytest.raises(Invalid):
        await ledger.submit(seal(FOUNDER, HIVE, "x", b'{"op": "no.such"}'))
    with pytest.raises(TooLarge):
        await ledger.submit(wish(project("shop", note="x" * 1000)))
    assert ledger.state.sequence == 1
    await ledger.close()


async def test_the_same_nonce_is_done_once_in_flight_later_and_after_a_restart(tmp_path: Path) -> None:
    ledger = await founded(tmp_path)
    first, second = await asyncio.gather(put(ledger, "shop", nonce="same"), put(ledger, "shop", nonce="same"))
    assert first == second
    assert ledger.state.sequence == 2
    later = await put(ledger, "shop", nonce="same")
    assert later.outcome == first.outcome
    await ledger.close()
    again = await open_ledger(tmp_path)
    assert (await put(again, "shop", nonce="same")).outcome == first.outcome
    assert again.state.projects["shop"].version == 1
    await again.close()


async def test_a_refusal_repeats_itself_for_the_same_nonce(tmp_path: Path) -> None:
    ledger = await founded(tmp_path)
    gone = StopApp(project="default", name="nothing")
    messages = []
    for _ in range(2):
        with pytest.raises(Exception) as refusal:
            await ledger.submit(wish(gone, nonce="stop"))
        messages.append((type(refusal.value), str(refusal.value)))
    assert messages[0] == messages[1]
    await ledger.close()


async def test_a_submitter_that_gives_up_does_not_take_others_with_it(tmp_path: Path) -> None:
    ledger = await founded(tmp_path)
    impatient = asyncio.ensure_future(put(ledger, "shop", nonce="same"))
    patient = asyncio.ensure_future(put(ledger, "shop", nonce="same"))
    await asyncio.sleep(0)
    impatient.cancel()
    assert (await patient).outcome.id == "shop"
    await ledger.close()


async def test_time_never_goes_back_and_goes_on_when_the_clock_does_not(tmp_path: Path) -> None:
    clock = Clock(5_000)
    ledger = await founded(tmp_path, clock)
    times: list[int] = []
    ledger.subscribe(lambda batch: times.append(batch.time))
    for now in (6_000, 1_000, 6_500, 7_000):
        clock.now = now
        await put(ledger, f"p{now}")
    assert times == sorted(times)
    assert times[0] == 6_000
    assert times[-1] >= 7_000
    await ledger.close()
    reopened = await open_ledger(tmp_path, Clock(10))
    reopened.subscribe(lambda batch: times.append(batch.time))
    await put(reopened, "late")
    assert times[-1] >= times[-2]
    await reopened.close()


async def test_a_failing_subscriber_disturbs_nobody_and_unsubscribing_works(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = await founded(tmp_path)
    heard: list[int] = []

    def broken(batch: Batch) -> None:
        raise ValueError("my own fault")

    ledger.subscribe(broken)
    undo = ledger.subscribe(lambda batch: heard.append(batch.sequence))
    await put(ledger, "a")
    undo()
    undo()
    await put(ledger, "b")
    assert heard == [2]
    assert "my own fault" in caplog.text
    await ledger.close()


async def test_a_directory_has_one_daemon(tmp_path: Path) -> None:
    ledger = await founded(tmp_path)
    with pytest.raises(Conflict) as refusal:
        await open_ledger(tmp_path)
    assert str(os.getpid()) in refusal.value.message
    await ledger.close()
    await (await open_ledger(tmp_path)).close()


async def test_the_wrong_hive_is_refused(tmp_path: Path) -> None:
    await (await founded(tmp_path)).close()
    with pytest.raises(Conflict, match="belongs to the hive"):
        await LocalLedger.open(tmp_path, hive="other", clock=Clock())


async def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    await (await founded(tmp_path)).close()
    with sqlite3.connect(tmp_path / "ledger.db") as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(Unsupported, match="newer"):
        await open_ledger(tmp_path)


async def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"not a database at all" * 1000)
    with pytest.raises(Corrupt):
        await open_ledger(tmp_path)


async def test_closing_finishes_what_was_submitted_and_refuses_more(tmp_path: Path) -> None:
    ledger = await founded(tmp_path)
    waiting = [asyncio.ensure_future(put(ledger, f"p{i}")) for i in range(50)]
    await asyncio.sleep(0)
    await ledger.close()
    await ledger.close()
    assert len(await asyncio.gather(*waiting)) == 50
    with pytest.raises(Unavailable, match="shutting down"):
        await put(ledger, "late")


async def test_checkpoints_drop_old_batches_and_keep_two(tmp_path: Path) -> None:
    ledger = await founded(tmp_path, settings=Settings(checkpoint_batches=5))
    for i in range(23):
        await put(ledger, f"p{i}")
    digest = ledger.state.digest()
    await ledger.close()
    db = sqlite3.connect(tmp_path / "ledger.db")
    checkpoints = [row[0] for row in db.execute("SELECT sequence FROM checkpoint ORDER BY sequence")]
    batches = [row[0] for row in db.execute("SELECT sequence FROM batch ORDER BY sequence")]
    db.close()
    assert checkpoints == [20, 24]
    assert batches == [21, 22, 23, 24]
    again = await open_ledger(tmp_path)
    assert again.state.digest() == digest
    await again.close()


async def test_a_size_makes_a_checkpoint_too(tmp_path: Path) -> None:
    ledger = await founded(tmp_path, settings=Settings(checkpoint_size=10_000))
    for i in range(4):
        await ledger.submit(wish(project(f"p{i}", note="x" * 6_000)))
    await ledger.close()
    db = sqlite3.connect(tmp_path / "ledger.db")
    assert db.execute("SELECT max(sequence) FROM checkpoint WHERE sequence < 5").fetchone()[0] == 3
    db.close()


async def test_a_large_state_has_its_checkpoints_more_rarely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hivemind.ledger import journal

    monkeypatch.setattr(journal, "_WORTH_A_BATCH", 100)
    ledger = await founded(tmp_path, settings=Settings(checkpoint_batches=2))
    written: list[int] = []
    checkpoint = ledger.journal.log.checkpoint
    monkeypatch.setattr(
        ledger.journal.log, "checkpoint", lambda c: (written.append(c.sequence), checkpoint(c))
    )
    for index in range(60):
        await put(ledger, f"p{index}")
    gaps = [later - earlier for earlier, later in itertools.pairwise(written)]
    assert gaps[0] < gaps[-1] and gaps == sorted(gaps)
    await ledger.close()
    again = await open_ledger(tmp_path)
    assert "p59" in again.state.projects
    await again.close()


async def test_what_is_nested_without_end_never_gets_into_the_ledger(tmp_path: Path) -> None:
    """It could be written, and not be read again: how deep is too deep depends on the machine."""
    ledger = await founded(tmp_path)
    payload: object = None
    for _ in range(400):
        payload = [payload]
    with pytest.raises(Invalid, match="nested too deeply"):
        await ledger.submit(wish(RaiseEvent(project="default", type="deep", payload=payload)))
    await ledger.close()
