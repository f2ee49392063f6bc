"""Events: rising ids, trimming, and following without gaps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path

import pytest

from hivemind.model.event import Event
from hivemind.security.identity import Identity
from hivemind.store.events import EventLog
from hivemind.store.shared import SharedStore
from tests.unit.store.links import Group

pytestmark = pytest.mark.anyio


class Clock:
    now = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now


async def opened(path: Path) -> SharedStore:
    return await SharedStore.open(path / "store.db", Identity(bytes(32)), clock=lambda: 0)


async def test_ids_rise_whatever_the_clock_does_and_over_restarts(tmp_path: Path) -> None:
    clock = Clock()
    store = await opened(tmp_path)
    events = EventLog(store, "node-1", clock)
    first = events.append("app.deployed", "web-app revision 1", app="web-app", by="me")
    assert first.id == f"1700000000000-000000-{store.writer[:8]}"
    assert (first.node, first.name, first.level) == ("node-1", "web-app", "info")
    ids = [first.id, events.append("x").id]
    clock.now -= 5_000
    ids.append(events.append("x").id)
    await store.close()
    store = await opened(tmp_path)
    events = EventLog(store, "node-1", clock)
    ids.append(events.append("x").id)
    clock.now += 10_000
    ids.append(events.append("x").id)
    assert ids == sorted(set(ids))
    assert [event.id for event in events.since()] == ids
    assert [event.id for event in events.since(ids[1])] == ids[2:]
    await store.close()


async def test_the_counter_carries_over(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    events = EventLog(store, "n", Clock())
    events._last = (Clock.now, 999_999)
    assert events.append("x").id == f"{Clock.now + 1}-000000-{store.writer[:8]}"
    await store.close()


async def test_the_oldest_are_trimmed_beyond_the_limit(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    events = EventLog(store, "n", Clock(), limit=10)
    made = [events.append("x", str(i)) for i in range(25)]
    assert events.since() == made[-10:]
    await store.close()
    store = await opened(tmp_path)
    fewer = EventLog(store, "n", Clock(), limit=4)
    last = fewer.append("x")
    assert [event.id for event in fewer.since()] == [*(event.id for event in made[-3:]), last.id]
    fewer.append("x")
    assert len(fewer.since()) == 4
    await store.close()


async def test_following_gives_the_past_then_the_present_once_each(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    events = EventLog(store, "n", Clock(), limit=100)
    made = [events.append("x", str(i)) for i in range(5)]
    follower = events.follow(made[1].id)
    seen = [await soon(anext(follower))]
    made.append(events.append("x", "during"))
    seen += [await soon(anext(follower)) for _ in range(3)]
    assert seen == made[2:]
    await follower.aclose()  # type: ignore[attr-defined]
    await store.close()


async def test_trimming_is_not_an_event_for_followers(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    events = EventLog(store, "n", Clock(), limit=2)
    follower = events.follow()
    waiting = asyncio.ensure_future(anext(follower))
    await asyncio.sleep(0)
    made = [events.append("x") for _ in range(4)]
    seen = [await soon(waiting)]
    seen += [await soon(anext(follower)) for _ in range(3)]
    assert seen == made
    await store.close()


async def soon(coming: Awaitable[Event]) -> Event:
    async with asyncio.timeout(5):
        return await coming


async def test_events_of_all_nodes_are_told_as_they_arrive_and_each_trims_its_own(tmp_path: Path) -> None:
    group = Group(tmp_path)
    one, two = await group.start(2)
    fast, slow = Clock(), Clock()
    slow.now -= 60_000
    first, second = EventLog(one, "one", fast, limit=20), EventLog(two, "two", slow, limit=20)
    seen = [first.append("x", "0")]
    await group.agree()
    follower = second.follow(seen[0].id)
    seen.append(first.append("x", "1"))
    assert await soon(anext(follower)) == seen[1]
    seen.append(second.append("x", "late, by its clock"))
    assert seen[2].id < seen[1].id
    assert await soon(anext(follower)) == seen[2]
    await follower.aclose()  # type: ignore[attr-defined]
    seen.append(first.append("x", "3"))
    again = second.follow(seen[1].id)
    assert [await soon(anext(again)) for _ in range(2)] == seen[2:]
    await again.aclose()  # type: ignore[attr-defined]
    await group.agree()
    for index in range(30):
        first.append("x", str(index))
        second.append("x", str(index))
    await group.agree()
    for log in (first, second):
        assert [event.node for event in log.since()].count("one") == 10
        assert [event.node for event in log.since()].count("two") == 10
    await group.close()
