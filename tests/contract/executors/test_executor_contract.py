"""Every engine that tasks are handed to keeps the same promises: the fake one, a real Slurm, a real Dask."""

from __future__ import annotations

import asyncio
import contextlib
import stat
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests import private_dask, private_slurm

from hivemind.drivers.executors.contract import Executor, Job, Progress
from hivemind.drivers.executors.dask import Dask
from hivemind.drivers.executors.fake import Fake
from hivemind.drivers.executors.slurm import Slurm
from hivemind.errors import Invalid

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(
    scope="module",
    params=[
        "fake",
        pytest.param("slurm", marks=pytest.mark.real),
        pytest.param("dask", marks=pytest.mark.real),
    ],
)
def site(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Makes executors for one engine, and the options that its jobs need."""
    if request.param == "slurm":
        with private_slurm.running() as slurm:
            yield (lambda: Slurm(slurm.environment)), {}
    elif request.param == "dask":
        with private_dask.running() as address:
            yield Dask, {"address": address}
    else:
        yield Fake, {}


class Desk:
    """Hands jobs of shell commands over."""

    def __init__(self, make: Any, options: dict[str, Any], place: Path) -> None:
        self.make, self._options, self._place = make, options, place
        self.executor: Executor = make()
        self._handed: list[tuple[str, Job]] = []

    def job(self, name: str, script: str, **more: Any) -> tuple[str, Job]:
        place = self._place / name
        (place / "work").mkdir(parents=True, exist_ok=True)
        wish = {"workdir": str(place / "work"), "timeout": 0.0, "grace": 5.0, "memory": 64 << 20, **more}
        wish["options"] = {**self._options, **wish.get("options", {})}
        job = Job(argv=("/bin/sh", "-c", script), directory=str(place), **wish)
        id = f"{place.parent.name}-{name}"
        self._handed.append((id, job))
        return id, job

    async def run(self, name: str, script: str, **more: Any) -> tuple[Progress, str, str]:
        id, job = self.job(name, script, **more)
        await self.executor.submit(id, job)
        progress = await asyncio.wait_for(self.executor.wait(id, job), 60)
        return progress, *[
            (await self.executor.output(id, job, one)).decode() for one in ("stdout", "stderr")
        ]  # type: ignore[arg-type,return-value]

    async def clear(self) -> None:
        for id, job in self._handed:
            with contextlib.suppress(Exception):
                await self.executor.cancel(id, job, kill=True)
        if isinstance(self.executor, Fake):
            await self.executor.destroy()
        await self.executor.close()


@pytest.fixture
async def desk(site: Any, tmp_path: Path) -> AsyncIterator[Desk]:
    one = Desk(*site, tmp_path)
    await one.executor.open()
    yield one
    await one.clear()


async def _seen(path: Path) -> None:
    """The job has written that file."""
    async with asyncio.timeout(60):
        while not (path.exists() and path.stat().st_size):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_how_it_ended_and_what_it_wrote(desk: Desk) -> None:
    done, out, err = await desk.run(
        "a", 'echo "$GREETING"; pwd; echo oops >&2; exit 3', env={"GREETING": "it's\n$HOME"}
    )
    assert (done.standing, done.cause, done.exit_code) == ("ended", "exit", 3)
    assert out.splitlines() == ["it's", "$HOME", str(desk._place / "a" / "work")]
    assert err == "oops\n"
    assert done.nodes


async def test_a_signal(desk: Desk) -> None:
    done, _, _ = await desk.run("a", "kill -SEGV $$")
    assert (done.cause, done.exit_code) == ("signal", 139)
    assert "SIGSEGV" in done.reason


async def test_it_is_handed_over_once_however_often_that_is_said(desk: Desk) -> None:
    id, job = desk.job("a", "echo once >> count")
    assert await desk.executor.find(id, job) is None
    names = {await desk.executor.submit(id, job) for _ in range(3)}
    assert len(names) == 1
    await desk.executor.wait(id, job)
    assert await desk.executor.submit(id, job) in names
    assert (Path(job.workdir) / "count").read_text() == "once\n"


async def test_after_a_crash_before_its_name_was_noted_it_is_found(desk: Desk) -> None:
    id, job = desk.job("a", "sleep 1; echo once >> count")
    name = await desk.executor.submit(id, job)
    (Path(job.directory) / "handed" / "name").unlink()
    if not isinstance(desk.executor, Fake):  # another daemon, which knows nothing
        await desk.executor.close()
        desk.executor = desk.make()
        await desk.executor.open()
    assert await desk.executor.submit(id, job) == name
    assert (await asyncio.wait_for(desk.executor.wait(id, job), 60)).exit_code == 0
    assert (Path(job.workdir) / "count").read_text() == "once\n"


async def test_secrets_are_in_no_command_line_and_in_no_file_that_others_can_read(desk: Desk) -> None:
    id, job = desk.job("a", "echo ready; sleep 5", env={"PASSWORD": "open-sesame"})
    await desk.executor.submit(id, job)
    await _seen(Path(job.directory) / "handed" / "stdout")
    listing = await asyncio.create_subprocess_exec("ps", "axww", stdout=subprocess.PIPE)
    assert b"open-sesame" not in (await listing.communicate())[0]
    handed = Path(job.directory) / "handed"
    assert not stat.S_IMODE(handed.stat().st_mode) & 0o077
    for path in Path(job.directory).rglob("*"):
        assert path.is_dir() or b"open-sesame" not in path.read_bytes(), path
    await desk.executor.cancel(id, job, kill=True)
    await asyncio.wait_for(desk.executor.wait(id, job), 60)


async def test_it_stops_gracefully(desk: Desk) -> None:
    id, job = desk.job("a", "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.1; done")
    await desk.executor.submit(id, job)
    await _seen(Path(job.directory) / "handed" / "stdout")
    assert (await desk.executor.poll(id, job)).standing == "running"
    for _ in range(2):
        await desk.executor.cancel(id, job)
    done = await asyncio.wait_for(desk.executor.wait(id, job), 60)
    assert (done.cause, done.exit_code) == ("canceled", 7)
    assert await desk.executor.output(id, job, "stdout") == b"ready\nbye\n"
    assert await desk.executor.output(id, job, "stdout", 6) == b"bye\n"
    await desk.executor.cancel(id, job, kill=True)  # of an ended one it does nothing


async def test_what_does_not_listen_is_killed_with_all_its_children(desk: Desk) -> None:
    script = "trap '' TERM; (trap '' TERM; echo $$; while :; do sleep 0.1; echo x > alive; done) & echo ready; wait"
    id, job = desk.job("a", script, grace=1.0)
    await desk.executor.submit(id, job)
    await _seen(Path(job.workdir) / "alive")
    await desk.executor.cancel(id, job)
    done = await asyncio.wait_for(desk.executor.wait(id, job), 60)
    assert (done.cause, done.exit_code) == ("canceled", 137)
    (Path(job.workdir) / "alive").unlink(missing_ok=True)
    await asyncio.sleep(0.3)
    assert not (Path(job.workdir) / "alive").exists()


async def test_its_time_limit_counts_by_seconds(desk: Desk) -> None:
    done, out, _ = await desk.run("a", "echo begun; sleep 60", timeout=1.0)
    assert (done.cause, out) == ("timeout", "begun\n")


async def test_what_cannot_begin(desk: Desk) -> None:
    done, _, _ = await desk.run("a", "true", workdir="/does/not/exist")
    assert done.cause == "start"
    assert "working directory" in done.reason
    done, _, err = await desk.run("b", "exec /does/not/exist")
    assert (done.cause, done.exit_code) == ("exit", 127)
    assert "not found" in err


async def test_it_begins_once_even_if_the_engine_tries_again(desk: Desk) -> None:
    id, job = desk.job("a", "echo once >> count; sleep 1")
    await desk.executor.submit(id, job)
    await _seen(Path(job.workdir) / "count")
    again = await asyncio.create_subprocess_exec("/bin/sh", str(Path(job.directory) / "handed" / "script"))
    assert await again.wait() == 75
    done = await asyncio.wait_for(desk.executor.wait(id, job), 60)
    assert done.cause == "lost"
    assert (Path(job.workdir) / "count").read_text() == "once\n"


@pytest.mark.parametrize(
    "more", [{"options": {"colour": "red"}}, {"options": {"address": "a\nb"}}, {"env": {"not-a-name": "x"}}]
)
async def test_what_it_does_not_understand_is_refused(desk: Desk, more: dict[str, Any]) -> None:
    id, job = desk.job("a", "true", **more)
    with pytest.raises(Invalid):
        await desk.executor.submit(id, job)
    assert await desk.executor.find(*desk.job("b", "true")) is None
