"""Nothing of a plain command survives it: whatever it forks, whoever is killed, whatever runs out."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hivemind.drivers.runtimes.contract import ContainerSpec, ExecSpec, LogQuery, Status
from hivemind.drivers.runtimes.process import launch as launching
from hivemind.drivers.runtimes.process.runtime import ProcessRuntime
from hivemind.drivers.runtimes.process.tree import mark_of, pids, start_time
from hivemind.errors import HivemindError, Unavailable

pytestmark = pytest.mark.anyio

DAEMON = """
import os, signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
with open(sys.argv[1] + ".new", "w") as file:
    file.write(str(os.getpid()))
os.rename(sys.argv[1] + ".new", sys.argv[1])
for fd in (0, 1, 2):
    os.close(fd)
time.sleep(1000)
"""
"""Forks twice, leaves its session, closes what it was given and ignores polite signals."""


@pytest.fixture
async def runtime(tmp_path: Path, anyio_backend: str) -> AsyncIterator[ProcessRuntime]:
    runtime = ProcessRuntime(tmp_path / "state", tmp_path / "run")
    await runtime.open()
    try:
        yield runtime
    finally:
        await runtime.destroy()


async def run(runtime: ProcessRuntime, id: str, *args: str) -> int:
    await runtime.create(ContainerSpec(id=id, args=args))
    return await runtime.start(id)


async def written(path: Path) -> int:
    async with asyncio.timeout(20):
        while not path.exists():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
    return int(path.read_text())


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def ours(runtime: ProcessRuntime) -> list[int]:
    """Living processes that carry a mark of this runtime."""
    return [pid for pid in pids() if mark_of(pid).startswith(f"{runtime._scope}/") and alive(pid)]


def daemon(pid_file: Path, *, bare: bool) -> list[str]:
    return [*(["env", "-i"] if bare else []), sys.executable, "-S", "-c", DAEMON, str(pid_file)]


@pytest.mark.parametrize("bare", [False, True])
async def test_a_daemon_dies_with_the_command_that_made_it(
    tmp_path: Path, runtime: ProcessRuntime, bare: bool
) -> None:
    """Also one that has cleared its environment."""
    pid_file = tmp_path / "pid"
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    await run(
        runtime,
        "c.0",
        "sh",
        "-c",
        'gate="$1"; shift; "$@"; read line < "$gate"',
        "-",
        str(gate),
        *daemon(pid_file, bare=bare),
    )
    pid = await written(pid_file)
    assert alive(pid)
    assert pid in {process.pid for process in await runtime.processes("c.0")}
    assert (await runtime.stats("c.0")).pids >= 2
    gate.write_text("go\n")
    async with asyncio.timeout(20):
        assert (await runtime.wait("c.0")).code == 0
    assert not alive(pid)


@pytest.mark.parametrize("how", ["stop", "remove"])
async def test_a_daemon_dies_when_its_command_is_taken_away(
    tmp_path: Path, runtime: ProcessRuntime, how: str
) -> None:
    await run(runtime, "c.0", "sh", "-c", '"$@"; exec sleep 1000', "-", *daemon(tmp_path / "pid", bare=True))
    await run(
        runtime, "other.0", "sh", "-c", '"$@"; exec sleep 1000', "-", *daemon(tmp_path / "pid2", bare=True)
    )
    pid, other = await written(tmp_path / "pid"), await written(tmp_path / "pid2")
    async with asyncio.timeout(20):
        if how == "stop":
            assert (await runtime.stop("c.0", "SIGTERM", 5)).code == 143
        else:
            await runtime.remove("c.0")
    assert not alive(pid)
    assert alive(other), "it belongs to another command"


async def test_what_a_command_beside_it_leaves_dies_with_the_container(
    tmp_path: Path, runtime: ProcessRuntime
) -> None:
    await run(runtime, "c.0", "sleep", "1000")
    session = await runtime.exec("c.0", ExecSpec(args=tuple(daemon(tmp_path / "pid", bare=True))))
    assert await session.wait() == 0
    await session.close()
    pid = await written(tmp_path / "pid")
    assert alive(pid)
    assert pid in {process.pid for process in await runtime.processes("c.0")}
    await runtime.remove("c.0")
    assert not alive(pid)


async def test_a_fork_bomb_with_a_fuse_is_put_out(tmp_path: Path, runtime: ProcessRuntime) -> None:
    script = (
        "f() { sleep 1000 & [ $1 -gt 0 ] && { (f $(($1 - 1))) & (f $(($1 - 1))) & }; }; f 5; echo lit; wait"
    )
    await run(runtime, "c.0", "setsid", "-w", "sh", "-c", script)
    async with asyncio.timeout(20):
        await anext(runtime.logs("c.0", LogQuery(follow=True)))
        await runtime.stop("c.0", "SIGKILL", 5)
    assert ours(runtime) == []


@pytest.mark.parametrize("after", [0.0, 0.01, 0.05, 0.15])
async def test_the_shim_is_killed_with_hundreds_of_launches_under_way(
    tmp_path: Path, runtime: ProcessRuntime, after: float
) -> None:
    """Every command either never ran and may be tried again, or has an ending; none runs on unseen."""
    await run(runtime, "first.0", "true")
    await runtime.wait("first.0")
    shim = runtime._shim.pid
    ids = [f"c{number}.0" for number in range(300)]
    for id in ids:
        await runtime.create(ContainerSpec(id=id, args=("sleep", "1000")))
    starting = [asyncio.ensure_future(runtime.start(id)) for id in ids]
    await asyncio.sleep(after)
    os.kill(shim, signal.SIGKILL)
    async with asyncio.timeout(50):
        results = await asyncio.gather(*starting, return_exceptions=True)
        await runtime._adopted()
        for id, result in zip(ids, results, strict=True):
            if isinstance(result, int):
                if alive(result):  # by another shim already
                    assert runtime._shim.pid != shim
                    await runtime.stop(id, "SIGKILL", 5)
                assert (await runtime.wait(id)).code in (None, 137)
            else:
                assert isinstance(result, HivemindError), result
                exit = await runtime.stop(id, "SIGTERM", 5)
                assert exit.code is None and exit.reason
    assert ours(runtime) == []
    assert {container.status for container in await runtime.list()} == {Status.EXITED}
    await run(runtime, "next.0", "sh", "-c", "exit 4")
    assert (await runtime.wait("next.0")).code == 4


def _asleep(mark: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "1000"], env={"HIVEMIND_COMMAND": mark}, start_new_session=True)


async def test_a_command_that_was_never_recorded_is_found_and_ended(
    tmp_path: Path, runtime: ProcessRuntime
) -> None:
    """As if the shim was killed between making it and recording it, and the daemon with it."""
    await runtime.create(ContainerSpec(id="c.0", args=("sleep", "1000")))
    orphan, stranger = _asleep(f"{runtime._scope}/c.0"), _asleep("another/c.0")
    try:
        await runtime.close()
        await runtime.open()
        assert orphan.wait(20) == -signal.SIGKILL
        exit = await runtime.wait("c.0")
        assert exit.code is None and "watched it died" in exit.reason
        assert stranger.poll() is None
    finally:
        for process in (orphan, stranger):
            process.kill()
            process.wait()


async def test_a_thousand_at_once(tmp_path: Path, runtime: ProcessRuntime) -> None:
    ids = [f"c{number}.0" for number in range(1000)]
    async with asyncio.timeout(60):
        await asyncio.gather(*(run(runtime, id, "sleep", "1000") for id in ids))
        assert len({container.pid for container in await runtime.list()}) == 1000
        await asyncio.gather(*(runtime.kill(id, "SIGTERM") for id in ids))
        assert [(await runtime.wait(id)).code for id in ids] == [143] * 1000
        await asyncio.gather(*(runtime.remove(id) for id in ids))
    assert ours(runtime) == []
    assert list((tmp_path / "state/commands").iterdir()) == []
    assert list((tmp_path / "state/logs").iterdir()) == []


async def test_commands_may_have_as_many_files_open_as_the_daemon(runtime: ProcessRuntime) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        await run(runtime, "c.0", "sh", "-c", "ulimit -Sn")
        await runtime.wait("c.0")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    [line] = [line.text async for line in runtime.logs("c.0", LogQuery())]
    assert int(line) == min(soft, 512)


async def test_a_shim_without_descriptors_refuses_and_goes_on(runtime: ProcessRuntime) -> None:
    await run(runtime, "quits.0", "true")
    await runtime.wait("quits.0")
    shim = runtime._shim.pid
    here = len(os.listdir(f"/proc/{shim}/fd"))
    resource.prlimit(shim, resource.RLIMIT_NOFILE, (here + 24, here + 24))
    started = []
    with pytest.raises(Unavailable) as refused:
        for number in range(40):
            await run(runtime, f"c{number}.0", "sleep", "1000")
            started.append(f"c{number}.0")
    assert refused.value.hint
    assert 5 <= len(started) < 40
    assert runtime._shim.pid == shim
    async with asyncio.timeout(20):
        for id in started:
            assert (await runtime.stop(id, "SIGTERM", 5)).code == 143
    await run(runtime, "again.0", "true")
    assert (await runtime.wait("again.0")).code == 0


async def test_when_no_process_can_be_made_it_is_said_and_nothing_is_left(
    runtime: ProcessRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object, **__: object) -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "posix_spawn", exhausted)
    order: dict[str, Any] = {
        "args": ["true"],
        "env": {},
        "workdir": "/",
        "groups": [],
        "netns": "",
        "identity": None,
    }
    with pytest.raises(launching.LaunchError) as caught:
        launching.launch(order, 0, 1, 2)
    assert (caught.value.number, caught.value.stage) == (errno.EAGAIN, "start")
    monkeypatch.setattr(os, "fork", exhausted)
    with pytest.raises(launching.LaunchError) as caught:
        launching.launch({**order, "identity": [0, 0, []]}, 0, 1, 2)
    assert (caught.value.number, caught.value.stage) == (errno.EAGAIN, "start")


@pytest.mark.real
async def test_a_machine_without_free_process_numbers(tmp_path: Path) -> None:
    """The shim of a group that may hold few processes: what does not fit is refused, what runs is not harmed."""
    runtime = ProcessRuntime(tmp_path / "state", tmp_path / "run")
    group = Path(f"/sys/fs/cgroup/pids/hivemind-test-{os.getpid()}")
    await runtime.open()
    try:
        await run(runtime, "runs.0", "sleep", "1000")
        group.mkdir()
        (group / "pids.max").write_text("4")
        (group / "cgroup.procs").write_text(str(runtime._shim.pid))
        started = ["runs.0"]
        with pytest.raises(Unavailable, match="start for 'sleep'"):
            for number in range(10):
                await run(runtime, f"c{number}.0", "sleep", "1000")
                started.append(f"c{number}.0")
        assert len(started) == 4
        for id in started:
            assert (await runtime.stop(id, "SIGTERM", 5)).code == 143
        await run(runtime, "again.0", "true")
        assert (await runtime.wait("again.0")).code == 0
    finally:
        shim, born = runtime._shim.pid, start_time(runtime._shim.pid)
        await runtime.destroy()
        async with asyncio.timeout(20):
            while start_time(shim) == born and alive(shim):  # noqa: ASYNC110 - not our child
                await asyncio.sleep(0.01)
        if group.exists():
            group.rmdir()


async def test_an_exit_for_which_the_disk_has_no_room_is_told_and_recorded_later(
    tmp_path: Path, runtime: ProcessRuntime
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    await run(runtime, "c.0", "sh", "-c", f"read line < {gate}; exit 5")
    record = tmp_path / "state/commands/c.0"
    kept = record.read_bytes()
    record.unlink()
    record.mkdir()  # what cannot be written to, also by root
    gate.write_text("go\n")
    async with asyncio.timeout(20):
        assert (await runtime.wait("c.0")).code == 5
    record.rmdir()
    record.write_bytes(kept)
    async with asyncio.timeout(20):
        while b'"exit"' not in record.read_bytes():  # noqa: ASYNC110 - by another process
            await asyncio.sleep(0.05)
    line = json.loads(record.read_bytes().rstrip(b"\n").splitlines()[-1])
    assert line["exit"]["code"] == 5 or line == {"told": True}
