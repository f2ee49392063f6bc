"""From a hive of its own into another one, back, and out of it: in place, whole at every instant."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from hivemind.errors import Conflict, Corrupt, Invalid, NotFound, Unavailable
from hivemind.ledger import journal as journal_module
from hivemind.ledger.contract import Batch
from hivemind.ledger.hive import ASIDE, HiveLedger
from hivemind.ledger.log import Log
from hivemind.ledger.trust import Handover
from ledgers import HIVE, Hive, Node, hive_in, milliseconds, until

pytestmark = pytest.mark.anyio


async def stranger(hive: Hive) -> Node:
    """A node with a hive and a project of its own."""
    from hivemind.model.principal import Principal, Role
    from hivemind.state.operations import RegisterPrincipal
    from ledgers import PERSON

    node = Node(hive, "stranger", 150)
    hive.nodes.append(node)
    await node.start()
    person = Principal(id=PERSON.public, name="person", kind="person", role=Role.ADMIN)
    await node.submit(RegisterPrincipal(principal=person))
    await node.put("mine")
    return node


async def test_in_and_back(tmp_path: Path) -> None:
    async with hive_in(tmp_path) as hive:
        nodes = await hive.grow(2)
        await nodes[0].put("theirs")
        node = await stranger(hive)
        state, before = node.ledger.state, node.ledger.state.digest()
        heard: list[Batch] = []
        node.ledger.subscribe(heard.append)
        await node.ledger.become(await nodes[0].ledger.handover())
        assert node.ledger.state is state and state.hive == HIVE
        assert len(heard) == 1 and {change.table for change in state.changes} >= {"projects", "nodes"}
        await until(lambda: "theirs" in state.projects, "it follows")
        assert (node.directory / ASIDE).exists()
        await node.ledger.go_back()
        assert state.hive == "own-stranger" and state.digest() == before
        assert not (node.directory / ASIDE).exists()
        await node.put("mine-too")
        assert node.projects == {"mine", "mine-too"}
        with pytest.raises(NotFound):
            await node.ledger.go_back()


async def test_in_for_good_and_out_again(tmp_path: Path) -> None:
    async with hive_in(tmp_path) as hive:
        nodes = await hive.grow(2)
        node = await stranger(hive)
        await node.ledger.become(await nodes[0].ledger.handover())
        await node.ledger.settle()
        assert not (node.directory / ASIDE).exists()
        await node.stop()
        await node.start()
        assert node.ledger.state.hive == HIVE and node.ledger.status().engine == "pbft"
        await node.ledger.leave("anew")
        assert node.ledger.state.hive == "anew" and not node.projects
        assert node.ledger.status().engine == "local"
        await node.stop()
        await node.start()
        assert node.ledger.state.hive == "anew" and node.ledger.state.sequence == 0


class Killed(BaseException):
    """At this very instant."""


STEPS: list[tuple[Any, str]] = [
    (Log, "install"), (Log, "keep"), (Log, "close"), (os, "link"), (os, "replace"), (journal_module, "_sync"),
]  # fmt: skip


def killed_after(monkeypatch: pytest.MonkeyPatch, count: int) -> list[str]:
    """Everything that touches the files works so often, then nothing does. What was done is in the list."""
    done: list[str] = []
    for owner, name in STEPS:
        original = getattr(owner, name)

        def step(*arguments: Any, _original: Any = original, _name: str = name, **named: Any) -> Any:
            if len(done) >= count:
                raise Killed
            done.append(_name)
            return _original(*arguments, **named)

        monkeypatch.setattr(owner, name, step)
    return done


async def test_killed_at_any_instant_it_is_in_one_hive_or_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hive_in(tmp_path / "hive") as hive:
        nodes = [await hive.found()]
        await hive.join()
        handover = await nodes[0].ledger.handover()
        found = []
        for count in range(12):
            node = Node(hive, f"victim{count}", 150)
            await node.start()
            digest = node.ledger.state.digest()
            with monkeypatch.context() as patched:
                done = killed_after(patched, count)
                try:
                    await node.ledger.become(handover)
                except Killed:
                    pass
            abandon(node.ledger)
            node.peers.stop()
            again = await HiveLedger.open(
                node.directory, hive="own", signer=node.identity, clock=milliseconds, agreement=hive.agreement
            )
            if again.state.hive == HIVE:
                assert handover.snapshot and len(again.state.nodes) >= 1
                assert (node.directory / ASIDE).exists()
                await again.go_back()
            assert again.state.hive == f"own-{node.name}" and again.state.digest() == digest
            found.append((len(done), again.status().engine))
            await again.close()
        assert found[-1][0] < 12 and found[0][0] == 0


def abandon(ledger: HiveLedger) -> None:
    """As the kernel does with what a dead process had open."""
    engine: Any = ledger._engine
    if hasattr(engine, "_stopping"):
        engine._stopping = True
    if getattr(engine, "_timer", None):
        engine._timer.cancel()
    ledger._closing = True
    ledger.journal._thread.shutdown()
    try:
        ledger.journal.log._db.close()
    except sqlite3.Error:
        pass
    ledger.journal._lock.release()


async def test_a_hive_is_saved_and_restored_as_a_new_lineage(tmp_path: Path) -> None:
    async with hive_in(tmp_path) as hive:
        nodes = await hive.grow(2)
        for index in range(7):
            await nodes[0].put(f"p{index}")
        saved = await nodes[1].ledger.save()
        await nodes[1].put("too-late")
        node = await stranger(hive)
        with pytest.raises(Corrupt):
            await node.ledger.restore(saved[:-1])
        with pytest.raises(Invalid):
            await node.ledger.restore(b"something else")
        with pytest.raises(NotFound, match="not registered"):
            await node.ledger.restore(saved)
        assert node.ledger.state.hive == "own-stranger"
        await _register(hive, node)
        await node.ledger.restore(saved)
        record = node.ledger.state.hive_record
        assert record and record.lineage == 1 and record.epoch.voters == (node.id,)
        assert node.projects == {f"p{index}" for index in range(7)}
        assert list(node.ledger.state.nodes) == [node.id]
        await node.put("goes-on")
        assert node.ledger.status().can_decide


async def _register(hive: Hive, node: Node) -> None:
    from hivemind.model.principal import Principal
    from hivemind.state.operations import RegisterPrincipal

    await node.submit(RegisterPrincipal(principal=Principal(id=node.id, name=node.name, kind="node")))
    await node.submit(hive._registration(node), by=node.identity)


async def test_the_last_one_goes_on_by_force(tmp_path: Path) -> None:
    async with hive_in(tmp_path) as hive:
        nodes = await hive.grow(3)
        await nodes[0].put("before")
        await hive.agree()
        with pytest.raises(Conflict, match="can decide"):
            await nodes[2].ledger.force_recover()
        await nodes[0].kill()
        await nodes[1].kill()
        with pytest.raises(Unavailable):
            await nodes[2].put("impossible")
        await nodes[2].ledger.force_recover()
        await nodes[2].put("after")
        record = nodes[2].ledger.state.hive_record
        assert record and record.lineage == 1
        assert nodes[2].projects >= {"before", "after"}
        assert list(nodes[2].ledger.state.nodes) == [nodes[2].id]
        # The others come back with votes of the old lineage: they change nothing here.
        digest = nodes[2].ledger.state.digest()
        await nodes[0].start()
        await nodes[1].start()
        await nodes[0].put("of-the-old-lineage")
        assert nodes[2].ledger.state.digest() == digest
        await nodes[2].stop()
        await nodes[2].start()
        assert nodes[2].ledger.state.digest() == digest
        await nodes[2].put("still")


def test_a_handover_travels() -> None:
    import msgspec

    from hivemind.ledger.trust import Trust
    from hivemind.model.hive import Epoch

    given = Handover(
        trust=Trust(hive="h", epoch=Epoch(number=1, since=2, voters=("a",))),
        snapshot=b"s",
        head=b"h",
        proof=b"p",
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(given), type=Handover) == given
