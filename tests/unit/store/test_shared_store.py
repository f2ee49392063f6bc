"""The stores of several nodes in one loop, with real keys and real files."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hivemind.errors import Corrupt, NotFound
from hivemind.protocols.autobee.entry import Notary
from hivemind.protocols.autobee.evidence import convicted
from hivemind.protocols.autobee.view import proven
from hivemind.security.identity import verify
from hivemind.store.shared import Settings, SharedStore
from tests.unit.store.links import FAST, HIVE, START, Group, changed, key
from tests.unit.store.one_writer_file import make

pytestmark = pytest.mark.anyio


@pytest.fixture
async def group(tmp_path: Path) -> AsyncIterator[Group]:
    made = Group(tmp_path)
    yield made
    await made.close()


@pytest.mark.parametrize("size", [2, 3, 5])
async def test_all_see_what_each_wrote_and_find_it_again(group: Group, size: int) -> None:
    stores = await group.start(size)
    for index, store in enumerate(stores):
        store.write({f"node/{index}": b"x", "shared": b"%d" % index})
    found = await group.agree()
    assert len(found) == size + 1
    stores[-1].put("shared", b"last")
    assert (await group.agree())["shared"] == b"last"
    for index, store in enumerate(stores):
        await group.leave(store)
        stores[index] = await group.open(index)
        group.join(stores[index])
    assert await group.agree() == found | {"shared": b"last"}


async def test_a_node_alone_becomes_two_with_nothing_restarted(group: Group) -> None:
    first, second = await group.start(2)
    await group.agree()
    founder = await SharedStore.open(group.home / "alone.db", key(7), hive="", clock=lambda: START)
    founder.put("mine", b"1")
    heard: list[str] = []
    founder.subscribe("", lambda entries: heard.extend(entry.key for entry in entries))
    await founder.enter(HIVE)
    for store in (first, second, founder):
        store.admit([first.writer, second.writer, founder.writer])
    founder.connect(group.wires.add(founder.writer))
    first.put("theirs", b"1")
    assert await group.agree([first, second, founder]) == {"mine": b"1", "theirs": b"1"}
    assert heard == ["theirs"]
    await group.leave(founder)
    again = await SharedStore.open(group.home / "alone.db", key(7), hive=HIVE, clock=lambda: START)
    assert {entry.key for entry in again.range("")} == {"mine", "theirs"}
    await again.close()


async def test_a_causal_overwrite_of_anothers_entry_and_its_deletion(group: Group) -> None:
    one, two, three = await group.start(3)
    one.put("a", b"1")
    await group.agree()
    two.put("a", b"2")
    await group.agree()
    entry = three.get("a")
    assert entry is not None
    assert (entry.value, entry.writer) == (b"2", two.writer)
    heard: list[bytes | None] = []
    one.subscribe("a", lambda entries: heard.extend(entry.value for entry in entries))
    three.delete("a")
    assert await group.agree() == {}
    assert heard == [None]


async def test_apart_each_goes_on_and_together_all_is_right(group: Group) -> None:
    one, two, three = await group.start(3)
    one.write({"name/web": b"old", "name/gone": b"x"})
    await group.agree()
    group.wires.part(one.writer, two.writer)
    group.wires.part(one.writer, three.writer)
    one.write({"name/web": b"new", "name/gone": None})
    two.put("two", b"2")
    await group.agree([two, three])
    assert {e.key for e in three.range("")} == {"name/web", "name/gone", "two"}
    group.wires.heal()
    assert await group.agree() == {"name/web": b"new", "two": b"2"}


async def test_who_is_cut_off_from_one_hears_of_it_through_the_other(group: Group) -> None:
    one, two, _ = await group.start(3)
    group.wires.part(one.writer, two.writer)
    one.put("a", b"1")
    assert await group.agree() == {"a": b"1"}


async def test_long_logs_come_in_parts(group: Group) -> None:
    one, _, three = await group.start(3)
    await group.leave(three)
    for part in range(4):
        one.write({f"{part}/{i:04d}": b"v" * 300 for i in range(1000)})
        await one.flush()
    group.stores[2] = await group.open(2)
    group.join(group.stores[2])
    assert len(await group.agree()) == 4000
    await group.stores[2].flush()
    assert group.stores[2]._logs.bodies[one.writer] == 4000


async def test_compaction_everywhere_and_a_newcomer_that_gets_little(tmp_path: Path) -> None:
    group = Group(tmp_path, Settings(delay=0.005, repair=0.05, waste=20))
    one, two, three = await group.start(3)
    await group.leave(three)
    for turn in range(200):
        one.write({f"k/{turn % 7}": b"%d" % turn})
        await one.flush()
    await group.agree([one, two])
    await two.flush()
    assert one._logs.bodies[one.writer] < 50
    assert two._logs.bodies[one.writer] < 50
    group.stores[2] = await group.open(2)
    group.join(group.stores[2])
    assert len(await group.agree()) == 7
    assert not any(store._replica.convicts() for store in group.stores)
    for store in group.stores:
        await store.close()
        again = await SharedStore.open(
            tmp_path / f"{group.stores.index(store)}.db",
            key(group.stores.index(store)),
            hive=HIVE,
            clock=lambda: 1,
        )
        assert len(list(again.range(""))) == 7
        await again.close()


async def test_a_copied_node_is_caught_by_its_own_words(group: Group, tmp_path: Path) -> None:
    one, two, three, four = await group.start(4)
    four.put("mine", b"1")
    await group.agree()
    await group.leave(four)
    shutil.copy(tmp_path / "3.db", tmp_path / "copy.db")
    caught: list[tuple[str, bytes]] = []
    for store in (one, two, three):
        store.on_convict(lambda writer, evidence: caught.append((writer, evidence)))
    for path, value in (("3.db", b"x"), ("copy.db", b"y")):
        twin = await SharedStore.open(tmp_path / path, key(3), hive=HIVE, clock=lambda: START, settings=FAST)
        twin.admit(store.writer for store in group.stores)
        twin.put("mine", value)
        await twin.flush()
        twin.connect(group.wires.add(four.writer))
        if path == "3.db":
            await group.agree([one, two, three, twin])
        else:  # it is told of what the other one signed, and goes on anyway
            twin._received(one.writer, b"")
            one.put("bell", b"")
            async with asyncio.timeout(20):
                while len(caught) < 3:
                    await changed([one, two, three])
        await group.leave(twin)
    assert {writer for writer, _ in caught} == {four.writer}
    assert all(convicted(evidence, Notary(HIVE, verify)) == four.writer for _, evidence in caught)
    assert "mine" not in await group.agree([one, two, three])
    group.stores.pop()


async def test_a_copied_node_hears_of_itself_what_others_can_prove(group: Group, tmp_path: Path) -> None:
    one, two, three = await group.start(3)
    three.put("mine", b"1")
    await group.agree()
    await group.leave(three)
    shutil.copy(tmp_path / "2.db", tmp_path / "copy.db")
    heard: list[tuple[str, bytes]] = []
    for path, value in (("2.db", b"x"), ("copy.db", b"y")):
        twin = await SharedStore.open(tmp_path / path, key(2), hive=HIVE, clock=lambda: START, settings=FAST)
        twin.on_convict(lambda writer, evidence: heard.append((writer, evidence)))
        twin.admit(store.writer for store in group.stores)
        twin.put("mine", value)
        await twin.flush()
        twin.connect(group.wires.add(three.writer))
        if path == "2.db":
            assert (await group.agree([one, two, twin]))["mine"] == b"x"
            assert not heard
            await group.leave(twin)
    async with asyncio.timeout(20):
        while not heard:
            await changed([one, two, twin])
    await two.flush()
    await one.flush()
    assert [writer for writer, _ in heard] == [three.writer]
    assert convicted(heard[0][1], Notary(HIVE, verify)) == three.writer
    assert twin.get("mine") is not None, "it goes on for itself"
    group.stores[2] = twin


async def test_who_leaves_the_hive_disappears_from_view_and_disk(group: Group) -> None:
    one, two, three = await group.start(3)
    three.write({"allocation/x": b"1"})
    await group.agree()
    heard: list[tuple[str, bytes | None]] = []
    one.subscribe("allocation/", lambda entries: heard.extend((e.key, e.value) for e in entries))
    for store in (one, two):
        store.admit([one.writer, two.writer])
    assert heard == [("allocation/x", None)]
    await one.flush()
    assert one._logs._db.execute("SELECT writer FROM log").fetchall() in (
        [],
        [(two.writer,)],
        [(one.writer,)],
    )
    three.put("late", b"1")
    await three.flush()
    assert await group.agree([one, two]) == {}


async def test_who_left_a_hive_finds_its_own_log_again_though_it_promised_something_there(
    group: Group,
) -> None:
    one, two = await group.start(2)
    one.put("mine", b"1")
    two.put("theirs", b"2")
    await group.agree()
    async with asyncio.timeout(10):
        while not await promised(one):
            await changed([one, two])
    one.disconnect()
    group.wires.drop(one.writer)
    await one.enter("another")
    one.admit([])
    await one.close()
    again = await SharedStore.open(group.home / "0.db", key(0), hive="another", clock=lambda: START)
    assert {entry.key for entry in again.range("")} == {"mine"}
    await again.close()


async def promised(store: SharedStore) -> bool:
    kept = await store._in_thread(store._logs.kept, store.writer)
    return kept is not None and kept.ack is not None


async def test_versions_history_proofs_and_comparing(group: Group) -> None:
    one, two = await group.start(2)
    one.write({f"k/{i:03d}": b"x" for i in range(300)})
    await group.agree()
    version, before = two.version, two.snapshot()
    entry = two.get("k/007")
    assert two.compare_and_write({"k/007": entry, "k/none": None}, {"k/007": b"y"})
    assert not two.compare_and_write({"k/007": entry}, {"k/007": b"z"})
    one.delete("k/008")
    await group.agree()
    differing = [(d.key, d.old and d.old.value, d.new and d.new.value) for d in two.diff(version)]
    assert differing == [("k/007", b"x", b"y"), ("k/008", b"x", None)]
    assert two.checkout(version) is before
    with pytest.raises(NotFound):
        two.checkout(version - 1000)
    found = [(e.value, e.writer) for e in await one.history("k/007") if not e.withdrawn]
    assert found == [(b"x", one.writer), (b"y", two.writer)]
    assert [e.value for e in await one.history("k/008", reverse=True)] == [None, b"x"]
    shown, proof, digest = one.prove("k/007")
    assert proven(proof, shown, digest)
    assert digest == two.snapshot().digest()
    assert not proven(proof, shown, before.digest())
    assert (await two.at(one.writer, 1)).key == "k/000"
    with pytest.raises(NotFound):
        await two.at(one.writer, 9999)
    bounded = two.snapshot().range("k/", gte="k/100", lt="k/103")
    assert [e.key for e in bounded] == ["k/100", "k/101", "k/102"]


async def test_a_store_of_the_format_before_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    make(path, key(0), [("a", b"1"), ("b", b"1"), ("a", b"2"), ("c", b"1"), ("c", None)])
    for _ in range(2):
        store = await SharedStore.open(path, key(0), hive=HIVE, clock=lambda: START)
        assert {e.key: e.value for e in store.range("")} == {"a": b"2", "b": b"1"}
        await store.close()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
    db.close()


@pytest.mark.parametrize(
    "statement",
    ["UPDATE entry SET body = x'00' WHERE sequence = 1", "UPDATE head SET hash = x'00' WHERE sequence < 3"],
)
async def test_a_damaged_store_of_the_format_before_is_refused(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "store.db"
    make(path, key(0), [("a", b"1"), ("b", b"1"), ("a", b"2")])
    with sqlite3.connect(path) as db:
        db.execute(statement)
    db.close()
    with pytest.raises(Corrupt, match="signature"):
        await SharedStore.open(path, key(0), hive=HIVE, clock=lambda: START)


async def test_a_damaged_copy_of_anothers_log_is_fetched_again(
    group: Group, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = await group.start(2)
    one.write({"a": b"1", "b": b"1"})
    await group.agree()
    await group.leave(two)
    with sqlite3.connect(tmp_path / "1.db") as db:
        db.execute(
            "UPDATE piece SET data = x'00' WHERE log = (SELECT id FROM log WHERE writer = ?)", (one.writer,)
        )
    db.close()
    group.stores[1] = await group.open(1)
    assert "fetched again" in caplog.text
    assert group.stores[1].get("a") is None
    group.join(group.stores[1])
    assert set(await group.agree()) == {"a", "b"}


async def test_what_waits_for_the_disk_is_sent_only_then(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = await group.start(2)
    await group.agree()
    db = one._logs._db
    db.execute(f"PRAGMA max_page_count={db.execute('PRAGMA page_count').fetchone()[0]}")
    one.put("big", b"x" * 100_000)
    with pytest.raises(Exception, match="cannot write"):
        await one.flush()
    assert two.get("big") is None
    db.execute("PRAGMA max_page_count=1000000")
    assert set(await group.agree()) == {"big"}
