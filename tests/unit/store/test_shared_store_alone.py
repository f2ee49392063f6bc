"""The store of one node: the view, the signed log below it, and what damage does to it."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import pytest

from hivemind.errors import Corrupt, Invalid, Unavailable, Unsupported
from hivemind.protocols.autobee.steps import Store as Keep
from hivemind.security.identity import Identity
from hivemind.store.contract import Entry
from hivemind.store.logs import DiskEffect
from hivemind.store.shared import Settings, SharedStore

pytestmark = pytest.mark.anyio

NODE = Identity(bytes(range(32)))


async def opened(path: Path, settings: Settings | None = None) -> SharedStore:
    return await SharedStore.open(path / "store.db", NODE, clock=lambda: 1234, settings=settings)


def contents(store: SharedStore, prefix: str = "") -> dict[str, bytes | None]:
    return {entry.key: entry.value for entry in store.range(prefix)}


async def test_a_write_shows_at_once_and_after_reopening(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    store.put("node/a", b"one")
    store.put("node/a", b"two")
    store.write({"node/b": b"three", "node/c": b"four"})
    store.delete("node/c")
    store.delete("never/there")
    entry = store.get("node/a")
    assert entry == Entry("node/a", b"two", NODE.public, 2, 1234, clock=2)
    assert store.get("node/c") is None
    wanted = {"node/a": b"two", "node/b": b"three"}
    assert contents(store) == wanted
    await store.close()
    again = await opened(tmp_path)
    assert contents(again) == wanted
    again.put("node/d", b"")
    entry = again.get("node/d")
    assert entry is not None
    assert entry.sequence == 6
    await again.close()


async def test_ranges(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    store.write(dict.fromkeys(("a/1", "a/2", "a/3", "b/1", "a", "a0", "a/\U0010ffffz"), b""))
    keys = lambda *a, **k: [entry.key for entry in store.range(*a, **k)]  # noqa: E731
    assert keys("a/") == ["a/1", "a/2", "a/3", "a/\U0010ffffz"]
    assert keys("a/", limit=2) == ["a/1", "a/2"]
    assert keys("a/", after="a/1", limit=1) == ["a/2"]
    assert keys("a/", reverse=True, limit=2) == ["a/\U0010ffffz", "a/3"]
    assert keys("a/", reverse=True, after="a/3") == ["a/2", "a/1"]
    assert keys("a/", after="b") == []
    assert keys("a/", limit=0) == []
    assert keys("c") == []
    assert keys("") == sorted(keys(""))
    await store.close()


async def test_a_range_is_not_disturbed_by_writes(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    store.write({f"k/{i}": b"" for i in range(9)})
    for entry in store.range("k/"):
        store.delete(entry.key)
    assert contents(store) == {}
    await store.close()


async def test_subscribers_hear_batches_of_their_prefix_in_order(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    heard: list[list[str]] = []

    def reacts(entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.key == "a/1":
                store.put("a/reaction", b"")

    store.subscribe("a/", reacts)
    undo = store.subscribe("a/", lambda entries: heard.append([entry.key for entry in entries]))
    store.write({"a/1": b"", "a/2": b"", "b/1": b""})
    store.put("b/2", b"")
    assert heard == [["a/1", "a/2"], ["a/reaction"]]
    undo()
    store.put("a/4", b"")
    assert len(heard) == 2
    await store.close()


async def test_a_failing_subscriber_is_logged_and_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = await opened(tmp_path)

    def broken(entries: Iterable[Entry]) -> None:
        raise ValueError("my own fault")

    heard: list[str] = []
    store.subscribe("", broken)
    store.subscribe("", lambda entries: heard.extend(entry.key for entry in entries))
    store.put("a", b"")
    assert heard == ["a"]
    assert "my own fault" in caplog.text
    await store.close()


async def test_a_watch_misses_nothing_from_its_making_on(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    store.put("a/0", b"")
    watch = store.watch("a/")
    store.put("a/1", b"")
    store.put("b/1", b"")
    store.delete("a/1")
    first = await asyncio.wait_for(anext(watch), 5)
    second = await asyncio.wait_for(anext(watch), 5)
    assert (first.key, first.value) == ("a/1", b"")
    assert (second.key, second.value) == ("a/1", None)
    assert len(store._notices.subscribers) == 1
    del watch
    assert store._notices.subscribers == []
    await store.close()


async def test_writes_reach_the_disk_by_themselves_in_one_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await opened(tmp_path, Settings(delay=0.01))
    groups: list[int] = []
    written, loop, write = asyncio.Event(), asyncio.get_running_loop(), store._logs.write

    def observed(effects: list[DiskEffect], hive: str) -> None:
        write(effects, hive)
        groups.extend(len(effect.pieces) for effect in effects if isinstance(effect, Keep))
        loop.call_soon_threadsafe(written.set)

    monkeypatch.setattr(store._logs, "write", observed)
    for index in range(100):
        store.put(f"k/{index}", b"x")
    await asyncio.wait_for(written.wait(), 10)
    assert groups == [100]
    assert store._logs._db.execute("SELECT count(*) FROM piece").fetchone() == (100,)
    await store.close()


async def test_bad_keys_change_nothing(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    for bad in ("", "x" * 513, "half a \ud800 pair"):
        with pytest.raises(Invalid):
            store.write({"good": b"", bad: b""})
    assert contents(store) == {}
    await store.close()
    with pytest.raises(Unavailable):
        store.put("late", b"")


async def test_compaction_keeps_what_lives_and_the_proof(tmp_path: Path) -> None:
    store = await opened(tmp_path, Settings(waste=50))
    for turn in range(40):
        for key in range(10):
            store.put(f"k/{key}", f"{turn}".encode())
        store.put(f"once/{turn}", b"x")
        if turn % 2:
            store.delete(f"once/{turn}")
        await store.flush()
    wanted = contents(store)
    rows = store._logs._db.execute("SELECT count(*) FROM piece WHERE level < 0").fetchone()[0]
    assert rows < 150
    assert store._logs.bodies[NODE.public] == rows
    await store.close()
    again = await opened(tmp_path)
    assert contents(again) == wanted
    again.put("more", b"1")
    await again.close()
    once_more = await opened(tmp_path)
    assert contents(once_more) == wanted | {"more": b"1"}
    await once_more.close()


async def test_a_full_disk_keeps_everything_in_view_and_writes_it_later(tmp_path: Path) -> None:
    store = await opened(tmp_path, Settings(backlog=20))
    db = store._logs._db
    db.execute(f"PRAGMA max_page_count={db.execute('PRAGMA page_count').fetchone()[0]}")
    for index in range(100):
        store.put(f"k/{index % 10}", b"x" * 1000 + str(index).encode())
    with pytest.raises(Unavailable):
        await store.flush()
    for index in range(100):
        store.put(f"k/{index % 10}", b"x" * 1000 + str(index).encode())
    assert store._replica.unsigned <= 20
    wanted = contents(store)
    assert len(wanted) == 10
    db.execute("PRAGMA max_page_count=1000000")
    await store.flush()
    await store.close()
    again = await opened(tmp_path)
    assert contents(again) == wanted
    await again.close()


async def _three_groups(path: Path) -> None:
    store = await opened(path)
    for group in range(3):
        store.write({f"k/{group}/{i}": b"value" for i in range(3)})
        await store.flush()
    await store.close()


def change(path: Path, statement: str) -> None:
    with sqlite3.connect(path / "store.db") as db:
        db.execute(statement)
    db.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE piece SET data = substr(data, 2) WHERE start = 7",
        "DELETE FROM piece WHERE start = 8",
        "DELETE FROM piece WHERE start = 6",
        "UPDATE log SET head = zeroblob(64)",
        "UPDATE log SET head = earlier",
    ],
)
async def test_a_damaged_tail_is_dropped_aloud(
    tmp_path: Path, statement: str, caplog: pytest.LogCaptureFixture
) -> None:
    await _three_groups(tmp_path)
    change(tmp_path, statement)
    store = await opened(tmp_path)
    assert len(contents(store)) == 6
    assert "dropped" in caplog.text
    store.put("k/again", b"")
    await store.close()
    again = await opened(tmp_path)
    assert len(contents(again)) == 7
    await again.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE piece SET data = substr(data, 2) WHERE start = 4",
        "DELETE FROM piece WHERE start = 1",
        "UPDATE log SET head = zeroblob(64), earlier = zeroblob(64)",
        "DROP TABLE piece",
        "PRAGMA application_id=7",
    ],
)
async def test_damage_before_the_tail_is_refused(tmp_path: Path, statement: str) -> None:
    await _three_groups(tmp_path)
    change(tmp_path, statement)
    with pytest.raises(Corrupt) as refusal:
        await opened(tmp_path)
    assert "move" in refusal.value.hint


async def test_a_compacted_log_that_was_changed_is_refused(tmp_path: Path) -> None:
    store = await opened(tmp_path, Settings(waste=1))
    for _ in range(5):
        store.write({"a": b"1", "b": b"2"})
        await store.flush()
    await store.close()
    change(tmp_path, "UPDATE piece SET data = zeroblob(32) WHERE start = (SELECT min(start) FROM piece)")
    with pytest.raises(Corrupt, match="signature"):
        await opened(tmp_path)


async def test_another_node_or_a_newer_format_cannot_open_it(tmp_path: Path) -> None:
    store = await opened(tmp_path, Settings(waste=1))
    for _ in range(5):
        store.write({"a": b"1", "b": b"2"})
        await store.flush()
    await store.close()
    with pytest.raises(Corrupt):
        await SharedStore.open(tmp_path / "store.db", Identity(bytes(32)), clock=lambda: 1)
    change(tmp_path, "PRAGMA user_version=9")
    with pytest.raises(Unsupported, match="newer"):
        await opened(tmp_path)


@pytest.mark.slow
async def test_any_byte_of_the_file_flipped_is_whole_shorter_or_refused(tmp_path: Path) -> None:
    await _three_groups(tmp_path)
    path = tmp_path / "store.db"
    good = path.read_bytes()
    whole = {f"k/{group}/{i}": b"value" for group in range(3) for i in range(3)}
    dice = random.Random(3)
    for at in sorted(dice.sample(range(len(good)), 400)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x41]) + good[at + 1 :])
        try:
            store = await opened(tmp_path)
        except (Corrupt, Unsupported):
            continue
        assert contents(store).items() <= whole.items()
        assert len(contents(store)) in (6, 9)
        await store.close()
