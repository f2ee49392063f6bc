"""Files that arrive, on a real file system, told to a hive in a box."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from hivemind.agent.triggers.files import FileTriggers
from hivemind.errors import Unavailable
from hivemind.model.project import ProjectManifest
from hivemind.model.volume import Volume, VolumeManifest
from hivemind.state.operations import DeleteJob, PutProject, PutVolume, RaiseEvent
from hivemind.state.state import Outcome
from jobs_hive import JobsHive

pytestmark = pytest.mark.anyio
INBOX = {"path": "in/*.csv", "volume": "inbox", "settle": 0.05}


class Events:
    def append(self, *_: Any, **__: Any) -> None:
        pass


class Rig:
    """A hive of one node with the volume `inbox`, whose files are in `top`."""

    def __init__(self, tmp_path: Path) -> None:
        self.hive = JobsHive()
        self.hive.do(PutProject(manifest=ProjectManifest(name="default", permissions=("bind", "processes"))))
        self.hive.do(PutVolume(project="default", manifest=VolumeManifest(name="inbox", node="node-0")))
        self.top = tmp_path / "volume"
        self.top.mkdir()
        self.home = tmp_path / "data" / "triggers"
        self.broken = False
        self.raised: list[RaiseEvent] = []
        self.news = asyncio.Event()
        self.triggers = self.fresh()

    def fresh(self) -> FileTriggers:
        return FileTriggers(
            node="node-0", node_name="node-0", state=self.hive.state, home=self.home,
            files_of=lambda volume: str(self.top), submit=self.submit, events=Events(),  # type: ignore[arg-type]
        )  # fmt: skip

    async def submit(self, event: RaiseEvent) -> Outcome:
        self.news.set()
        if self.broken:
            raise Unavailable("not now")
        self.raised.append(event)
        return self.hive.do(event, by="node-0", refused=False)

    def put(self, *triggers: dict[str, Any]) -> None:
        # The hive's clock stands in 1970, so all files have come after the trigger.
        self.hive.put(triggers={"file": list(triggers)}, tasks={"a": {"run": "x"}})
        self.triggers.agreed(self.hive.state.changes)

    def write(self, name: str, text: str = "x") -> Path:
        path = self.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not true():
                self.news.clear()
                await self.news.wait()

    async def paths(self, count: int) -> list[str]:
        """Of the events, once there are so many."""
        await self.until(lambda: len(self.raised) >= count)
        return sorted(event.payload["path"] for event in self.raised)

    async def restart(self) -> None:
        await self.triggers.stop()
        self.triggers = self.fresh()
        self.triggers.start()

    async def arranged(self) -> None:
        """What was agreed until now is watched, and what was there has been looked at."""
        await self.triggers._arrange()
        await asyncio.gather(*(watch._scan for watch in self.triggers._watches.values() if watch._scan))

    async def quiet(self) -> None:
        """Everything that was done until now has been noticed: a last file says so."""
        self.write("in/zz-last.csv", str(len(self.raised)))
        before = len(self.raised)
        await self.until(lambda: any(e.payload["name"] == "zz-last.csv" for e in self.raised[before:]))


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path)
    rig.triggers.start()
    yield rig
    await rig.triggers.stop()


async def test_a_file_starts_a_run(rig: Rig) -> None:
    (rig.top / "in").mkdir()
    rig.put(INBOX)
    rig.write("in/a.csv", "hello")
    assert await rig.paths(1) == ["in/a.csv"]
    [event] = rig.raised
    assert (event.job, event.source) == ("job", "inbox:in/*.csv")
    assert (
        event.payload["name"] == "a.csv" and event.payload["size"] == 5 and event.payload["volume"] == "inbox"
    )
    [run] = rig.hive.state.runs.values()
    assert run.start.kind == "file"


async def test_directories_that_appear_later_and_files_that_are_moved_in(rig: Rig, tmp_path: Path) -> None:
    rig.put({"path": "a/**/*.csv", "volume": "inbox", "settle": 0.02})
    rig.write("a/b/c/1.csv")
    await rig.paths(1)
    (tmp_path / "2.csv").write_text("x")
    os.rename(tmp_path / "2.csv", rig.top / "a" / "2.csv")
    await rig.paths(2)
    away = tmp_path / "away"
    away.mkdir()
    (away / "3.csv").write_text("x")
    os.rename(away, rig.top / "a" / "b" / "moved")
    assert await rig.paths(3) == ["a/2.csv", "a/b/c/1.csv", "a/b/moved/3.csv"]


async def test_what_is_still_written_is_not_whole(rig: Rig) -> None:
    rig.put({**INBOX, "settle": 1.0})
    (rig.top / "in").mkdir()
    with (rig.top / "in" / "slow.csv").open("w") as file:
        for _ in range(12):
            file.write("line\n")
            file.flush()
            await asyncio.sleep(0.1)
            assert rig.raised == []
    await rig.paths(1)
    assert rig.raised[0].payload["size"] == 60


async def test_what_does_not_match_says_nothing(rig: Rig) -> None:
    rig.put(INBOX)
    for name in ("in/a.txt", "in/.b.csv", "out/c.csv", "in/deep/d.csv"):
        rig.write(name)
    (rig.top / "in" / "folder.csv").mkdir()
    os.mkfifo(rig.top / "in" / "pipe.csv")
    await rig.quiet()
    assert [event.payload["name"] for event in rig.raised] == ["zz-last.csv"]


async def test_no_link_leads_out_of_the_volume(rig: Rig, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.csv").write_text("x")
    os.symlink(outside, rig.top / "linked")
    rig.put(INBOX, {"path": "linked/*.csv", "volume": "inbox", "settle": 0.02})
    (rig.top / "in").mkdir()
    os.symlink(outside / "secret.csv", rig.top / "in" / "link.csv")
    (outside / "later.csv").write_text("x")
    await rig.quiet()
    assert [event.payload["name"] for event in rig.raised] == ["zz-last.csv"]


async def test_a_file_that_is_written_again_has_arrived_again(rig: Rig) -> None:
    rig.put(INBOX)
    rig.write("in/a.csv", "one")
    await rig.paths(1)
    rig.write("in/a.csv", "another")
    await rig.paths(2)
    assert len({event.key for event in rig.raised}) == 2 and len(rig.hive.state.runs) == 2


async def test_a_restart_tells_nothing_twice_and_misses_nothing(rig: Rig) -> None:
    rig.put(INBOX)
    for number in range(20):
        rig.write(f"in/{number}.csv")
    await rig.paths(20)
    await rig.triggers.stop()
    rig.write("in/meanwhile.csv")
    rig.triggers = rig.fresh()
    rig.triggers.start()
    assert (await rig.paths(21))[-1] == "in/meanwhile.csv"
    await rig.restart()
    await rig.quiet()
    assert len(rig.raised) == 22


async def test_killed_before_it_could_note_that_it_told_the_run_is_the_same(rig: Rig) -> None:
    rig.put(INBOX)
    rig.write("in/a.csv")
    await rig.paths(1)
    await rig.triggers.stop()
    [memory] = rig.home.iterdir()
    memory.write_text("")
    rig.triggers = rig.fresh()
    rig.triggers.start()
    await rig.paths(2)
    assert len(rig.hive.state.runs) == 1


async def test_files_from_before_the_trigger_have_never_arrived(rig: Rig) -> None:
    rig.write("in/old.csv")
    rig.hive.time = 4_000_000_000_000  # so that the trigger is younger than the file
    rig.put(INBOX)
    await rig.arranged()
    await rig.quiet()
    assert [event.payload["name"] for event in rig.raised] == ["zz-last.csv"]


async def test_while_the_hive_cannot_be_told_the_file_waits(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hivemind.agent.triggers.watch._AGAIN", 0.02)
    rig.broken = True
    rig.put(INBOX)
    rig.write("in/a.csv")
    await rig.until(rig.news.is_set)
    rig.broken = False
    assert await rig.paths(1) == ["in/a.csv"]


async def test_the_nodes_own_paths_need_a_permission_that_may_be_taken_away(rig: Rig, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    rig.put({"path": f"{spool}/*.job", "settle": 0.02})
    spool.mkdir()
    (spool / "1.job").write_text("x")
    assert await rig.paths(1) == [f"{spool}/1.job"]
    rig.hive.do(PutProject(manifest=ProjectManifest(name="default", permissions=("processes",))))
    rig.triggers.agreed(rig.hive.state.changes)
    await rig.arranged()
    assert rig.triggers._watches == {}


async def test_another_nodes_paths_are_not_ours(rig: Rig, tmp_path: Path) -> None:
    rig.put(INBOX, {"path": f"{tmp_path}/*.job", "node": "node-9"})
    rig.write("in/a.csv")
    await rig.paths(1)
    assert len(rig.triggers._watches) == 1


async def test_a_job_that_goes_takes_its_memory_along(rig: Rig) -> None:
    rig.put(INBOX)
    rig.write("in/a.csv")
    await rig.paths(1)
    rig.hive.do(DeleteJob(project="default", name="job"))
    rig.triggers.agreed(rig.hive.state.changes)
    await rig.arranged()
    assert list(rig.home.iterdir()) == []
    assert rig.triggers._watches == {} and rig.triggers._spots == {}


async def test_thousands_of_files_at_once(rig: Rig) -> None:
    rig.hive.put(triggers={"file": [INBOX]}, tasks={"a": {"run": "x", "if": "false"}}, keep={"runs": 5000})
    rig.triggers.agreed(rig.hive.state.changes)
    for number in range(2000):
        rig.write(f"in/{number}.csv")
    assert len(await rig.paths(2000)) == 2000
    assert len(rig.hive.state.runs) == 2000
    await rig.restart()
    await rig.quiet()
    assert len(rig.raised) == 2001


async def test_a_volume_that_is_not_here_is_not_watched(rig: Rig) -> None:
    rig.triggers._files_of = lambda volume: ""
    rig.put(INBOX)
    await asyncio.sleep(0)
    rig.write("in/a.csv")

    def here(volume: Volume) -> str:
        return str(rig.top)

    rig.triggers._files_of = here
    rig.triggers.noticed()
    assert await rig.paths(1) == ["in/a.csv"]
