"""One node's disk is full, its votes are lost, its state is another, or it lies about the state: the others go on, it
says so, and comes back when it can."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hivemind.errors import Unavailable
from hivemind.ledger import parts
from hivemind.ledger.journal import Settings
from hivemind.ledger.pace import Pace
from hivemind.ledger.parts import Part
from ledgers import LATE, Node, hive_in, until

pytestmark = pytest.mark.anyio


def limit_pages(node: Node, more: int) -> None:
    db = node.ledger.journal.log._db
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count={pages + more}")


@pytest.fixture(params=[True, False], ids=["quick", "slow"])
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for which the loop waits, or for which a thread does."""
    monkeypatch.setattr(Pace, "quick", request.param)


@pytest.mark.usefixtures("disk")
async def test_a_full_disk_of_one_stops_only_that_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with hive_in(tmp_path, settings=Settings(checkpoint_batches=10**6)) as hive:
        nodes = await hive.grow(4)
        limit_pages(nodes[0], 2)
        full = False
        async with asyncio.timeout(LATE):
            for index in itertools.count():  # what is free within the file is used up first
                await nodes[1 + index % 3].put(f"p{index}")
                full = full or "full" in nodes[0].ledger.status().why_not
                if full and index >= 30:
                    break
        assert "full" in nodes[0].ledger.status().why_not
        assert not nodes[0].ledger.status().can_decide
        with pytest.raises(Unavailable, match="full") as refusal:
            await nodes[0].put("here")
        assert refusal.value.hint and "does not vote" in caplog.text
        limit_pages(nodes[0], 10**6)
        await hive.agree()
        await nodes[0].put("again")
        await hive.agree()


async def test_lost_votes_make_a_voter_abstain_until_they_cannot_matter(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with hive_in(tmp_path) as hive:
        nodes = await hive.grow(4)
        await nodes[0].put("before")
        await nodes[3].stop()
        with sqlite3.connect(nodes[3].directory / "ledger.db") as db:
            assert db.execute("SELECT count(*) FROM record").fetchone()[0] > 0
            db.execute("UPDATE record SET body = x'00' WHERE number = (SELECT max(number) FROM record)")
        db.close()
        await nodes[3].start()
        assert "abstains" in nodes[3].ledger.status().why_not and "does not follow" in caplog.text
        async with asyncio.timeout(LATE):
            while nodes[3].ledger.status().why_not:
                await nodes[0].put(f"p{nodes[0].ledger.state.sequence}")
        await nodes[0].kill()
        await nodes[3].put("after")
        await hive.agree()


async def test_whoever_gives_a_wrong_state_is_named_and_another_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with hive_in(tmp_path, settings=Settings(checkpoint_batches=10)) as hive:
        nodes = await hive.grow(4)
        await nodes[3].kill()
        gone = nodes[3].ledger.state.sequence
        while nodes[0].ledger.state.sequence < gone + 80:
            await asyncio.gather(*(node.put(f"p{nodes[0].ledger.state.sequence}") for node in nodes[:3]))
        forged: list[Part] = []
        honest = parts._part

        def lying(partitions: list[int], rows: list[parts.Row]) -> Part:
            part = honest(partitions, rows)
            if not forged:
                wrong = [
                    (table, key, record.replace(b'"version":1', b'"version":9'))
                    for table, key, record in rows
                ]
                wrong = wrong[:-1]
                part = msgspec.structs.replace(part, rows=zlib.compress(msgspec.msgpack.encode(wrong)))
                forged.append(part)
            return part

        monkeypatch.setattr(parts, "_part", lying)
        await nodes[3].start()
        await hive.agree()
        assert forged and "gave as the hive's state is wrong" in caplog.text
        assert any(node.id in caplog.text for node in nodes[:3])


async def test_a_defect_stops_agreeing_aloud_and_what_was_told_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with hive_in(tmp_path) as hive:
        nodes = await hive.grow(4)
        await nodes[0].put("before")
        await hive.agree()

        def broken(*_: object) -> None:
            raise AssertionError("defect")

        with monkeypatch.context() as patched:
            patched.setattr(nodes[1].ledger.state, "apply", broken)
            await nodes[0].put("others-go-on")
            await until(lambda: not nodes[1].ledger.status().can_decide, "it says so")
            with pytest.raises(Unavailable, match="defect"):
                await nodes[1].put("here")
        assert "the ledger stops" in caplog.text
        await nodes[2].put("still")
        await nodes[1].stop()
        await nodes[1].start()
        await hive.agree()


async def test_a_state_that_differs_is_replaced_by_the_certified_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from msgspec.structs import replace

    async with hive_in(tmp_path, settings=Settings(checkpoint_batches=8)) as hive:
        nodes = await hive.grow(4)
        await nodes[0].put("shop")
        await hive.agree()
        state = nodes[2].ledger.state
        state.tables.put(state.projects, "shop", replace(state.projects["shop"], version=77))
        for index in range(40):
            await nodes[index % 2].put(f"p{index}")
        await until(lambda: state.projects["shop"].version == 1, "the certified state is there")
        assert "differs" in caplog.text or "votes no more" in caplog.text
        await hive.agree()
        await nodes[2].put("agrees-again")


@pytest.mark.usefixtures("disk")
async def test_killed_at_any_transaction_a_voter_never_contradicts_itself(tmp_path: Path) -> None:
    """Votes, batches and links of epochs become durable in groups; between any two of them the node dies."""
    async with hive_in(tmp_path, settings=Settings(checkpoint_batches=6)) as hive:
        nodes = await hive.grow(4)
        died, told = set[str](), set[str]()
        for count in range(1, 22, 2):
            victim = nodes[count % 4]
            dead = dies_after(victim, count)
            others = [node for node in nodes if node is not victim]
            while not dead:
                names = {f"p{count}-{len(told)}-{node.name}": node for node in others}
                await asyncio.gather(*(node.put(name) for name, node in names.items()))
                told |= set(names)
            died.add(dead[0])
            await victim.kill()
            await victim.start()
            await victim.put(f"back-{count}")
            told.add(f"back-{count}")
            await hive.agree()
        assert len(died) >= 2
        assert all(not node.ledger.status().evidence for node in nodes)
        assert nodes[0].projects == told


def dies_after(node: Node, count: int) -> list[str]:
    """So many writes of its file succeed. The list says at which one it died; from then on nothing leaves it."""
    log, left, died = node.ledger.journal.log, [count], list[str]()
    for name in ("append", "keep", "checkpoint", "prove"):
        original = getattr(log, name)

        def write(*arguments: Any, _original: Any = original, _name: str = name) -> Any:
            if left[0] <= 0:
                if not died:
                    died.append(_name)
                    node.ledger._lines._links = None
                raise Unavailable("killed")
            left[0] -= 1
            return _original(*arguments)

        setattr(log, name, write)
    return died
