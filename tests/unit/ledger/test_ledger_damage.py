"""Torn writes, flipped bytes and lost pages: whatever the disk does, the ledger never lies about the past."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from hivemind.errors import Corrupt, Unavailable, Unsupported
from hivemind.ledger import chain
from hivemind.ledger.contract import Batch
from hivemind.ledger.local import Settings
from hivemind.ledger.log import Log
from hivemind.ledger.replay import Replayed, replay, signed
from ledger_hive import HIVE, found, founded, open_ledger, project, put, wish

Image = dict[str, bytes]
"""The files of a ledger as a crash leaves them."""

EARLIER = 4
"""Batches before the last one."""


class Writer:
    """Writes batches as the local ledger does, and takes images. Small pages keep `every byte` affordable."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "ledger.db"
        with sqlite3.connect(self.path) as db:
            db.execute("PRAGMA page_size=512")
            db.execute("VACUUM")
        db.close()
        self.log = Log(self.path)
        self.at = replay(self.log, self.path, HIVE)
        self.digests = [self.at.state.digest()]

    def write(self, index: int) -> None:
        state = self.at.state
        operation = found() if index == 0 else project(f"p{index}")
        batch = Batch(
            sequence=state.sequence + 1,
            previous=self.at.head,
            time=1000 + index,
            envelopes=(wish(operation, nonce=f"w{index}"),),
        )
        body = chain.encode(batch)
        self.log.append(batch, body, state.digest())
        self.at.head = chain.link(body)
        state.apply(batch.sequence, batch.time, signed(batch))
        self.digests.append(state.digest())

    def image(self) -> Image:
        return {p.name: p.read_bytes() for p in self.path.parent.iterdir()}


def reopen(image: Image, directory: Path) -> Replayed:
    """Raises `Corrupt`. `directory` is used over and over."""
    path = directory / "ledger.db"
    for name in ("ledger.db", "ledger.db-wal"):
        (directory / name).write_bytes(image.get(name, b""))
    log = Log(path)
    try:
        return replay(log, path, HIVE)
    finally:
        log.close()


def outcome(image: Image, directory: Path, digests: list[bytes]) -> int | None:
    """Up to which batch the state is there; None when the damage was refused. Anything else is a lie."""
    try:
        found = reopen(image, directory)
    except (Corrupt, Unsupported) as refusal:
        assert refusal.hint
        return None
    assert found.state.digest() == digests[found.state.sequence]
    return found.state.sequence


@pytest.fixture
def crashed(tmp_path: Path) -> Iterator[tuple[Image, Image, list[bytes]]]:
    """Images before and after the last batch, and the digests after each batch."""
    home = tmp_path / "home"
    home.mkdir()
    writer = Writer(home)
    for index in range(EARLIER):
        writer.write(index)
    before = writer.image()
    writer.write(EARLIER)
    yield before, writer.image(), writer.digests
    writer.log.close()


@pytest.fixture
def scratch() -> Iterator[Path]:
    """In memory where possible: these tests open thousands of files."""
    import tempfile

    root = "/dev/shm" if Path("/dev/shm").is_dir() else None
    directory = Path(tempfile.mkdtemp(prefix="hivemind-damage-", dir=root))
    yield directory
    shutil.rmtree(directory)


@pytest.mark.slow
def test_the_log_cut_at_every_byte_of_the_last_batch(
    crashed: tuple[Image, Image, list[bytes]], scratch: Path
) -> None:
    before, after, digests = crashed
    wal = after["ledger.db-wal"]
    start = len(before["ledger.db-wal"])
    assert wal[:start] == before["ledger.db-wal"]
    found = [
        outcome({**after, "ledger.db-wal": wal[:cut]}, scratch, digests) for cut in range(start, len(wal) + 1)
    ]
    assert found[-1] == EARLIER + 1
    assert set(found[:-1]) == {EARLIER}


@pytest.mark.slow
def test_every_byte_of_the_last_batch_flipped(
    crashed: tuple[Image, Image, list[bytes]], scratch: Path
) -> None:
    before, after, digests = crashed
    wal = after["ledger.db-wal"]
    for at in range(len(before["ledger.db-wal"]), len(wal)):
        torn = wal[:at] + bytes([wal[at] ^ 0x41]) + wal[at + 1 :]
        found = outcome({**after, "ledger.db-wal": torn}, scratch, digests)
        # A flip that makes an inner frame look like the end of a durable transaction is refused aloud.
        looks_like_commit = 4 <= (at - 32) % 536 < 8 and len(wal) - at > 536
        assert found == (None if looks_like_commit else EARLIER), f"byte {at}"


@pytest.mark.slow
def test_damage_to_earlier_batches_in_the_log_is_refused_not_forgotten(
    crashed: tuple[Image, Image, list[bytes]], scratch: Path
) -> None:
    before, after, digests = crashed
    wal = after["ledger.db-wal"]
    # Salts (bytes 16 to 24 of the header) tell generations apart: with another salt all frames are an older
    # generation's leftovers, which the header's checksum must catch.
    for at in range(0, len(before["ledger.db-wal"]), 3):
        hurt = wal[:at] + bytes([wal[at] ^ 0x41]) + wal[at + 1 :]
        assert outcome({**after, "ledger.db-wal": hurt}, scratch, digests) is None, f"byte {at}"


def test_a_database_file_cut_while_the_log_is_whole(
    crashed: tuple[Image, Image, list[bytes]], scratch: Path
) -> None:
    """SQLite copies pages from the log into the file; a crash may tear the file, the log repairs it."""
    _, after, digests = crashed
    database = after["ledger.db"]
    for cut in range(len(database)):
        assert outcome({**after, "ledger.db": database[:cut]}, scratch, digests) in (EARLIER + 1, None)
    for at in range(100, len(database)):
        torn = database[:at] + b"\xff" * (len(database) - at)
        assert outcome({**after, "ledger.db": torn}, scratch, digests) == EARLIER + 1


@pytest.mark.slow
def test_a_closed_database_with_any_byte_flipped_or_cut_is_whole_or_refused(
    tmp_path: Path, scratch: Path
) -> None:
    writer = Writer(tmp_path)
    for index in range(EARLIER):
        writer.write(index)
    writer.log.close()
    database = writer.image()["ledger.db"]
    seen = set()
    for at in range(0, len(database), 5):
        hurt = database[:at] + bytes([database[at] ^ 0x41]) + database[at + 1 :]
        seen.add(outcome({"ledger.db": hurt}, scratch, writer.digests))
    for cut in range(1, len(database), 97):
        seen.add(outcome({"ledger.db": database[:cut]}, scratch, writer.digests))
    assert seen == {EARLIER, None}


def change(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as db:
        db.execute(statement)
    db.close()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE batch SET body = substr(body, 1, 20) WHERE sequence = 7", "batch 7 does not match its hash"),
        ("DELETE FROM batch WHERE sequence = 7", "missing before 8"),
        ("DELETE FROM batch WHERE sequence = 8", "newest batches"),
        ("DELETE FROM batch", "newest batches"),
        ("UPDATE batch SET before = zeroblob(32) WHERE sequence = 8", "replaying batch 8 .* another state"),
        ("DELETE FROM checkpoint", "no checkpoint"),
        ("UPDATE checkpoint SET digest = zeroblob(32)", "no checkpoint"),
        ("UPDATE checkpoint SET head = zeroblob(32)", "no checkpoint"),
        ("DELETE FROM head", "head is missing"),
        ("UPDATE head SET sequence = 9", "newest batches"),
        ("DROP TABLE batch", "no such table"),
    ],
)
@pytest.mark.anyio
async def test_each_kind_of_damage_has_its_words(tmp_path: Path, statement: str, words: str) -> None:
    image = await _with_batches_after_a_checkpoint(tmp_path)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "ledger.db").write_bytes(image["ledger.db"])
    (scratch / "ledger.db-wal").write_bytes(image["ledger.db-wal"])
    change(scratch / "ledger.db", statement)
    with pytest.raises(Corrupt, match=words) as refusal:
        reopen({"ledger.db": (scratch / "ledger.db").read_bytes()}, scratch)
    assert refusal.value.hint


@pytest.mark.anyio
async def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = await _with_batches_after_a_checkpoint(tmp_path)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    for name in ("ledger.db", "ledger.db-wal"):
        (scratch / name).write_bytes(image[name])
    change(scratch / "ledger.db", "UPDATE checkpoint SET snapshot = x'7b7d' WHERE sequence = 6")
    found = reopen({"ledger.db": (scratch / "ledger.db").read_bytes()}, scratch)
    assert len(found.state.projects) == 7
    assert "checkpoint 6" in caplog.text


async def _with_batches_after_a_checkpoint(tmp_path: Path) -> Image:
    """Checkpoints at 3 and 6, batches 4 to 8."""
    home = tmp_path / "home"
    ledger = await founded(home, settings=Settings(checkpoint_batches=3))
    for index in range(7):
        await put(ledger, f"p{index}")
    image = {p.name: p.read_bytes() for p in home.iterdir()}
    await ledger.close()
    return image


def test_an_older_generation_in_the_log_is_no_damage(tmp_path: Path, scratch: Path) -> None:
    """After SQLite starts its log again from the front, old frames stay behind the new ones."""
    writer = Writer(tmp_path)
    for index in range(30):
        writer.write(index)
    writer.log._db.execute("PRAGMA wal_checkpoint(RESTART)")
    for index in range(30, 33):
        writer.write(index)
    assert outcome(writer.image(), scratch, writer.digests) == 33
    writer.log.close()


@pytest.mark.anyio
async def test_a_file_that_another_program_reads_is_no_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = await open_ledger(tmp_path)
    await ledger.close()
    other = sqlite3.connect(tmp_path / "ledger.db")
    other.execute("BEGIN")
    other.execute("SELECT * FROM head").fetchall()
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, timeout=0))
    with pytest.raises(Unavailable, match="another program has") as refused:
        await open_ledger(tmp_path)
    assert "fuser" in refused.value.hint
    other.close()
    await (await open_ledger(tmp_path)).close()
