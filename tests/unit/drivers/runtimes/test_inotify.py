"""The inotify wrapper: what happens in a directory arrives, in order, and closing ends the iteration."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hivemind.drivers.runtimes import inotify
from hivemind.errors import NotFound

pytestmark = pytest.mark.anyio


async def test_changes_arrive_in_order(tmp_path: Path) -> None:
    watcher = inotify.Inotify()
    wd = watcher.add(tmp_path, inotify.MOVED_TO | inotify.CLOSE_WRITE)
    (tmp_path / "a").write_text("1")
    (tmp_path / "a").rename(tmp_path / "b")
    seen = []
    async for change in watcher:
        seen.append(change)
        if len(seen) == 2:
            break
    watcher.close()
    assert seen == [(wd, inotify.CLOSE_WRITE, "a"), (wd, inotify.MOVED_TO, "b")]


async def test_a_waiting_consumer_wakes_up(tmp_path: Path) -> None:
    watcher = inotify.Inotify()
    file = tmp_path / "log"
    file.touch()
    wd = watcher.add(file, inotify.MODIFY)

    async def first() -> inotify.Change:
        async for change in watcher:
            return change
        raise AssertionError("ended")

    waiting = asyncio.create_task(first())
    await asyncio.sleep(0)
    with file.open("a") as out:
        out.write("x")
    assert await waiting == (wd, inotify.MODIFY, "")
    watcher.close()


async def test_close_ends_the_iteration(tmp_path: Path) -> None:
    watcher = inotify.Inotify()
    watcher.add(tmp_path, inotify.CREATE)

    async def all_of_them() -> list[inotify.Change]:
        return [change async for change in watcher]

    waiting = asyncio.create_task(all_of_them())
    await asyncio.sleep(0)
    watcher.close()
    assert await waiting == []


async def test_a_removed_watch_is_silent(tmp_path: Path) -> None:
    watcher = inotify.Inotify()
    watcher.remove(watcher.add(tmp_path, inotify.CREATE))
    other = tmp_path / "other"
    other.mkdir()
    wd = watcher.add(other, inotify.CREATE)
    (other / "x").touch()
    async for change in watcher:
        if change.mask != inotify.IGNORED:
            assert change == (wd, inotify.CREATE, "x")
            break
    watcher.close()


async def test_watching_what_is_not_there_says_so(tmp_path: Path) -> None:
    watcher = inotify.Inotify()
    with pytest.raises(NotFound, match="gone"):
        watcher.add(tmp_path / "gone", inotify.CREATE)
    watcher.close()
