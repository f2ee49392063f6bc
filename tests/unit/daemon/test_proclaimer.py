"""What was agreed is told once, on every node, whoever is down: real ledgers and stores in one loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hivemind.daemon.herald import Herald
from hivemind.daemon.proclaimer import Proclaimer
from hivemind.ledger.contract import Batch
from hivemind.model.event import Event
from hivemind.model.principal import Principal, Role
from hivemind.security.identity import Identity
from hivemind.state.operations import LeaveHive, RegisterPrincipal
from hivemind.store.events import EventLog, agreed_id
from hivemind.store.shared import Settings, SharedStore
from ledgers import HIVE, Hive, Node, hive_in, milliseconds, until

pytestmark = pytest.mark.anyio
QUICK = Settings(delay=0.005, repair=0.05, retry=0.05)
PATIENCE = 0.15


class Site:
    """The store, the event log and the heralds of a node, and somebody who follows there all the time."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.heard: list[str] = []

    async def start(self, limit: int = 10_000) -> Site:
        node, state = self.node, self.node.ledger.state
        self.store = await SharedStore.open(
            node.directory / "store.db", node.identity, hive=HIVE, clock=milliseconds, settings=QUICK
        )
        self.events = EventLog(self.store, node.id, milliseconds, limit)
        self.proclaimer = Proclaimer(node.id, state, self.events, milliseconds, PATIENCE)
        for callback in (Herald(state, self.proclaimer).agreed, self.proclaimer.agreed, self._admit):
            node.ledger.subscribe(callback)
        self.store.admit(state.nodes)
        self.store.connect(node.peers)
        self.heard.clear()
        self._follower = asyncio.create_task(self._follow())
        await asyncio.sleep(0)
        return self

    def _admit(self, batch: Batch) -> None:
        self.store.admit(self.node.ledger.state.nodes)

    async def _follow(self) -> None:
        async for event in self.events.follow():
            self.heard.append(event.id)

    async def stop(self) -> None:
        self.proclaimer.close()
        self._follower.cancel()
        await asyncio.gather(self._follower, return_exceptions=True)
        await self.store.close()

    @property
    def told(self) -> dict[str, str]:
        """Of the principals that were admitted: name -> the id of its event."""
        return {e.name: e.id for e in self.events.since() if e.type == "principal.admitted"}


@contextlib.asynccontextmanager
async def sites(directory: Path, size: int) -> AsyncIterator[tuple[Hive, list[Site]]]:
    async with hive_in(directory) as hive:
        await hive.grow(size)
        made = [await Site(node).start() for node in hive.nodes]
        try:
            yield hive, made
        finally:
            for site in made:
                if site.node.alive:
                    await site.stop()


async def admit(by: Node, *names: str) -> None:
    for name in names:
        person = Identity(name.encode().ljust(32, b"."))
        await by.submit(
            RegisterPrincipal(
                principal=Principal(id=person.public, name=name, kind="person", role=Role.VIEWER)
            )
        )


async def all_know(chosen: list[Site], names: set[str]) -> None:
    await until(lambda: all(site.told.keys() == names for site in chosen), f"all know {sorted(names)}")
    assert len({tuple(sorted(site.told.items())) for site in chosen}) == 1


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{index}" for index in range(count)]


async def copies(site: Site) -> Counter[str]:
    """How many logs each event was ever written to, as far as this node knows."""
    found = {(entry.key, entry.writer) for entry in await site.store.history("event/") if entry.value}
    return Counter(key for key, _ in found)


async def test_each_event_is_there_once_and_nodes_take_turns(tmp_path: Path) -> None:
    async with sites(tmp_path, 4) as (hive, made):
        await admit(hive.nodes[0], *names("p", 8))
        await all_know(made, set(names("p", 8)))
        for site in made:
            await until(lambda site=site: len(site.heard) == 8, "who follows hears of all")
            assert sorted(site.heard) == sorted(site.told.values())
        await asyncio.sleep(PATIENCE * 5)
        assert set((await copies(made[0])).values()) == {1}
        writers = {entry.writer for entry in made[0].store.range("event/")}
        assert len(writers) > 1
        assert {event.node for event in made[0].events.since()} == {""}


async def test_what_a_dead_node_should_have_told_others_tell(tmp_path: Path) -> None:
    async with sites(tmp_path, 4) as (hive, made):
        dead = made.pop()
        await dead.stop()
        await dead.node.kill()
        await admit(hive.nodes[0], *names("p", 8))
        await all_know(made, set(names("p", 8)))
        assert any(
            (int(id.split("-")[1]) % 4) == sorted(n.id for n in hive.nodes).index(dead.node.id)
            for id in made[0].told.values()
        ), "it was nobody's turn who is dead"
        await dead.node.start()
        made.append(await dead.start())
        await hive.agree()
        await all_know(made, set(names("p", 8)))
        await asyncio.sleep(PATIENCE * 5)
        await admit(hive.nodes[1], "late")
        await all_know(made, {*names("p", 8), "late"})
        for site in made:
            assert Counter(site.heard).most_common(1)[0][1] == 1


async def test_a_part_that_missed_decisions_hears_of_each_once(tmp_path: Path) -> None:
    async with sites(tmp_path, 4) as (hive, made):
        await admit(hive.nodes[0], "before")
        await all_know(made, {"before"})
        rest = [node.id for node in hive.nodes[:3]]
        hive.network.part(rest, [hive.nodes[3].id])
        await admit(hive.nodes[0], *names("p", 6))
        await all_know(made[:3], {"before", *names("p", 6)})
        assert made[3].told.keys() == {"before"}
        hive.network.mend()
        await all_know(made, {"before", *names("p", 6)})
        await asyncio.sleep(PATIENCE * 5)
        for site in made:
            assert sorted(site.heard) == sorted(site.told.values())


async def test_what_a_node_told_stays_when_it_goes_and_a_new_one_sees_it(tmp_path: Path) -> None:
    async with sites(tmp_path, 4) as (hive, made):
        await admit(hive.nodes[0], *names("p", 8))
        await all_know(made, set(names("p", 8)))
        gone = next(s for s in made[1:] if any(e.writer == s.node.id for e in s.store.range("event/")))
        await hive.nodes[0].submit(LeaveHive(node=gone.node.id, force=True))
        rest = [site for site in made if site is not gone]
        await until(lambda: all(gone.node.id not in s.node.ledger.state.nodes for s in rest), "it has left")
        await gone.stop()
        await gone.node.kill()
        made.remove(gone)
        await until(
            lambda: all(gone.node.id not in {e.writer for e in s.store.range("")} for s in rest), "it is gone"
        )
        assert all(site.told.keys() == set(names("p", 8)) for site in rest)
        for site in rest:
            assert Counter(site.heard).most_common(1)[0][1] == 1
        node = await hive.join(hive.nodes[0])
        made.append(await Site(node).start())
        await all_know(made, set(names("p", 8)))


async def test_what_was_trimmed_is_not_told_again(tmp_path: Path) -> None:
    store = await SharedStore.open(tmp_path / "store.db", Identity(bytes(32)), clock=lambda: 0)
    events = EventLog(store, "n", milliseconds, limit=3)
    made = [Event(id=agreed_id(1_700_000_000_000, n, 0), time=1, type="x") for n in range(9)]
    events.tell(made[2:])
    assert [event.id for event in events.since()] == [event.id for event in made[-3:]]
    assert events.horizon() == made[-3].id
    events.tell(made[-3:])
    assert len(await store.history("event/")) == len({e.key for e in await store.history("event/")})
    await store.close()
