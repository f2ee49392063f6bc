"""What is special about plain commands: the shim's life and death, limits, and what is refused."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hivemind.drivers.runtimes.contract import ContainerSpec, ExecSpec, LogQuery, Mount, Status
from hivemind.drivers.runtimes.process import client
from hivemind.drivers.runtimes.process import runtime as process_runtime
from hivemind.drivers.runtimes.process.runtime import ProcessRuntime
from hivemind.drivers.runtimes.process.tree import start_time
from hivemind.errors import HivemindError, Invalid, Unavailable, Unsupported

pytestmark = pytest.mark.anyio
FOREVER = "echo ready; while :; do sleep 0.05; done"


@pytest.fixture
async def runtime(tmp_path: Path, anyio_backend: str) -> AsyncIterator[ProcessRuntime]:
    runtime = ProcessRuntime(tmp_path / "state", tmp_path / "run")
    await runtime.open()
    try:
        yield runtime
    finally:
        await runtime.destroy()


def spec(script: str, id: str = "c.0", **fields: Any) -> ContainerSpec:
    return ContainerSpec(id=id, args=("sh", "-c", script), **fields)


async def run(runtime: ProcessRuntime, script: str, id: str = "c.0", **fields: Any) -> int:
    await runtime.create(spec(script, id, **fields))
    return await runtime.start(id)


async def ready(runtime: ProcessRuntime, id: str = "c.0") -> None:
    lines = runtime.logs(id, LogQuery(follow=True))
    async with asyncio.timeout(20):
        await anext(lines)
    await lines.aclose()


def shim_pid(runtime: ProcessRuntime) -> int:
    sock = runtime._shim.dial()
    assert sock is not None
    with sock:
        sock.setblocking(True)
        return int(json.loads(sock.recv(65536).split(b"\n")[0])["pid"])


async def gone(pid: int, born: int) -> None:
    async with asyncio.timeout(20):
        while start_time(pid) == born:  # noqa: ASYNC110 - not our child, nothing tells
            await asyncio.sleep(0.01)


async def test_commands_of_a_killed_shim_are_ended_with_a_reason(runtime: ProcessRuntime) -> None:
    pid = await run(runtime, FOREVER)
    born = start_time(pid)
    await ready(runtime)
    await run(runtime, "exit 3", "done.0")
    assert (await runtime.wait("done.0")).code == 3
    os.kill(shim_pid(runtime), signal.SIGKILL)
    async with asyncio.timeout(20):
        exit = await runtime.wait("c.0")
    assert exit.code is None
    assert "watched it died" in exit.reason
    await gone(pid, born)
    assert (await runtime.wait("done.0")).code == 3
    await run(runtime, "exit 4", "next.0")  # with a new shim
    assert (await runtime.wait("next.0")).code == 4


async def test_commands_of_a_shim_killed_while_no_daemon_ran(tmp_path: Path, runtime: ProcessRuntime) -> None:
    await run(runtime, FOREVER)
    shim = shim_pid(runtime)
    await runtime.close()
    os.kill(shim, signal.SIGKILL)
    await gone(shim, start_time(shim))
    second = ProcessRuntime(tmp_path / "state", tmp_path / "run")
    await second.open()
    [container] = await second.list()
    assert container.status == Status.EXITED
    assert container.exit is not None and container.exit.code is None and container.exit.reason
    await second.remove("c.0")
    await second.close()
    runtime._held.clear()


async def test_a_command_of_an_earlier_boot(tmp_path: Path, runtime: ProcessRuntime) -> None:
    await runtime.create(spec(FOREVER))
    record = {"pid": os.getpid(), "start_time": start_time(os.getpid()), "started": 5, "boot": "another"}
    with (tmp_path / "state/commands/c.0").open("a") as file:
        file.write("\n" + json.dumps({"born": record}))
    second = ProcessRuntime(tmp_path / "state", tmp_path / "run")
    await second.open()
    assert "restarted" in (await second.wait("c.0")).reason
    await second.close()


async def test_commands_outlive_a_daemon_that_is_killed(tmp_path: Path, runtime: ProcessRuntime) -> None:
    script = f"""
import asyncio
from pathlib import Path
from hivemind.drivers.runtimes.contract import ContainerSpec
from hivemind.drivers.runtimes.process.runtime import ProcessRuntime
async def main():
    runtime = ProcessRuntime(Path({str(tmp_path)!r}) / "state", Path({str(tmp_path)!r}) / "run")
    await runtime.open()
    for id, script in (("long.0", "while :; do sleep 0.05; done"), ("short.0", "sleep 0.3; echo out; exit 5")):
        await runtime.create(ContainerSpec(id=id, args=("sh", "-c", script)))
        await runtime.start(id)
    print("started", flush=True)
    await asyncio.sleep(1000)
asyncio.run(main())
"""
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE, env=dict(os.environ)
    )
    assert daemon.stdout is not None
    assert await daemon.stdout.readline() == b"started\n"
    daemon.kill()
    await daemon.communicate()
    second = ProcessRuntime(tmp_path / "state", tmp_path / "run")
    await second.open()
    async with asyncio.timeout(20):
        assert (await second.wait("short.0")).code == 5
    assert [line.text async for line in second.logs("short.0", LogQuery())] == ["out"]
    states = {container.id: container.status for container in await second.list()}
    assert states["long.0"] == Status.RUNNING
    for id in states:
        await second.remove(id)
    await second.close()


async def test_an_exit_between_the_greeting_and_the_listening_is_not_lost(
    tmp_path: Path, runtime: ProcessRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    await run(runtime, f"read line < {gate}; exit 3")
    second = ProcessRuntime(tmp_path / "state", tmp_path / "run")
    dial = second._shim.dial

    def greeted_before_the_exit() -> socket.socket | None:
        monkeypatch.undo()
        line, watcher = dial(), dial()
        assert line is not None and watcher is not None
        with watcher:
            for sock in (line, watcher):
                sock.settimeout(20)
            watcher.sendall(b'{"n": 1, "do": "listen"}\n')
            assert b'"c.0"' in line.recv(65536, socket.MSG_PEEK)
            told = b""
            while b'"n": 1' not in told:
                told += watcher.recv(65536)
            gate.write_text("go\n")
            while b'"exited"' not in told:
                told += watcher.recv(65536)
        line.setblocking(False)
        return line

    monkeypatch.setattr(second._shim, "dial", greeted_before_the_exit)
    await second.open()
    try:
        async with asyncio.timeout(20):
            assert (await second.wait("c.0")).code == 3
            await second.remove("c.0")
    finally:
        await second.close()
    runtime._held.clear()


async def test_what_a_slow_shim_starts_for_a_daemon_that_was_killed_is_known_to_the_next(
    tmp_path: Path, runtime: ProcessRuntime
) -> None:
    await run(runtime, FOREVER)
    shim = shim_pid(runtime)
    second = ProcessRuntime(tmp_path / "state", tmp_path / "run")
    await runtime.create(spec(FOREVER, "late.0"))
    os.kill(shim, signal.SIGSTOP)
    try:
        starting = asyncio.ensure_future(runtime.start("late.0"))
        async with asyncio.timeout(20):
            while not runtime._shim._answers:  # noqa: ASYNC110 - it is on its way at once
                await asyncio.sleep(0)
            await runtime.close()
            with pytest.raises(Unavailable, match="has died"):
                await starting
            opening = asyncio.ensure_future(second.open())
            while not second._held:  # noqa: ASYNC110 - by now it has read what is on record
                await asyncio.sleep(0)
    finally:
        os.kill(shim, signal.SIGCONT)
    await opening
    states = {container.id: (container.status, container.pid > 0) for container in await second.list()}
    assert states == dict.fromkeys(("c.0", "late.0"), (Status.RUNNING, True))
    for id in states:
        await second.remove(id)
    await second.close()
    runtime._held.clear()


async def test_a_start_between_the_greeting_and_the_listening_is_not_taken_for_a_leftover(
    tmp_path: Path, runtime: ProcessRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run(runtime, FOREVER)
    line = runtime._shim.dial()
    assert line is not None
    line.settimeout(20)
    assert b'"c.0"' in line.recv(65536, socket.MSG_PEEK)
    line.setblocking(False)
    await run(runtime, FOREVER, "late.0")
    await runtime.close()
    second = ProcessRuntime(tmp_path / "state", tmp_path / "run")
    monkeypatch.setattr(second._shim, "dial", lambda: line)
    await second.open()
    monkeypatch.undo()
    assert {container.id: container.status for container in await second.list()} == dict.fromkeys(
        ("c.0", "late.0"), Status.RUNNING
    )
    await second.destroy()
    runtime._held.clear()


async def test_a_start_whose_caller_gave_up_can_be_removed(runtime: ProcessRuntime) -> None:
    await runtime.create(spec(FOREVER))
    starting = asyncio.ensure_future(runtime.start("c.0"))
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    async with asyncio.timeout(20):
        await runtime.remove("c.0")
    assert await runtime.list() == []


async def test_closing_does_not_wait_for_a_shim_that_hangs(tmp_path: Path, runtime: ProcessRuntime) -> None:
    await run(runtime, FOREVER)
    await ready(runtime)
    second = ProcessRuntime(tmp_path / "state", tmp_path / "run")
    await second.open()
    shim = shim_pid(runtime)
    os.kill(shim, signal.SIGSTOP)
    try:
        await second.create(spec("x" * 2**20, "big.0"))
        killing = asyncio.ensure_future(second.kill("c.0", "SIGTERM"))
        starting = asyncio.ensure_future(second.start("big.0"))  # more than fits into the socket
        async with asyncio.timeout(20):
            while len(second._shim._answers) < 2:  # noqa: ASYNC110 - both are on their way at once
                await asyncio.sleep(0)
            await second.close()
            await killing
            with pytest.raises(Unavailable, match="has died"):
                await starting
    finally:
        os.kill(shim, signal.SIGCONT)
    await second.open()
    await second.remove("big.0")
    await second.close()


async def test_a_shim_that_hangs_is_given_up_with_an_error(
    tmp_path: Path, runtime: ProcessRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run(runtime, FOREVER)
    await ready(runtime)
    shim = shim_pid(runtime)
    os.kill(shim, signal.SIGSTOP)
    try:
        monkeypatch.setattr(client, "_CONNECT", 0.05)
        monkeypatch.setattr(client, "_ANSWER", 0.05)
        monkeypatch.setattr(process_runtime, "_DYING", 0.05)
        async with asyncio.timeout(20):
            with pytest.raises(Unavailable, match="does not end"):
                await runtime.remove("c.0")
            with pytest.raises(Unavailable, match="does not answer"):
                await ProcessRuntime(tmp_path / "state", tmp_path / "run").destroy()
    finally:
        monkeypatch.undo()
        os.kill(shim, signal.SIGCONT)


async def test_there_is_one_shim_however_many_ask(tmp_path: Path, runtime: ProcessRuntime) -> None:
    others = [ProcessRuntime(tmp_path / "state", tmp_path / "run") for _ in range(4)]
    for other in others:
        await other.open()
    await asyncio.gather(*(other._shim.connect(start=True) for other in others))
    assert len({shim_pid(other) for other in others}) == 1
    for other in others:
        await other.close()


async def test_an_idle_shim_ends_and_another_is_started_when_needed(tmp_path: Path) -> None:
    first = ProcessRuntime(tmp_path / "state", tmp_path / "run")
    first._shim.patience = 0.05
    await first.open()
    await run(first, "exit 1")
    await first.wait("c.0")
    shim = shim_pid(first)
    born = start_time(shim)
    await first.close()
    await gone(shim, born)
    second = ProcessRuntime(tmp_path / "state", tmp_path / "run")
    await second.open()
    await run(second, "exit 2", "d.0")
    assert (await second.wait("d.0")).code == 2
    await second.destroy()


async def test_destroy_leaves_nothing(tmp_path: Path) -> None:
    runtime = ProcessRuntime(tmp_path / "state", tmp_path / "run")
    await runtime.open()
    pid = await run(runtime, FOREVER)
    born, shim = start_time(pid), shim_pid(runtime)
    shim_born = start_time(shim)
    await runtime.destroy()
    await gone(pid, born)
    await gone(shim, shim_born)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert list(Path("/sys/fs/cgroup").glob(f"*/hivemind-{runtime._scope}")) == []


@pytest.mark.parametrize(
    ("fields", "error", "word"),
    [
        ({"image": "sha256:00"}, Unsupported, "image"),
        ({"mounts": (Mount("/data", "/srv/data"),)}, Unsupported, "mount"),
        ({"workdir": "/no/such/directory"}, Invalid, "workdir"),
        ({"user": "nobody-like-this"}, Invalid, "passwd"),
        ({"id": "../escape"}, Invalid, "letters"),
        ({"args": ()}, Invalid, "command"),
    ],
)
async def test_what_cannot_run_is_refused_with_a_hint(
    runtime: ProcessRuntime, fields: dict[str, Any], error: type[HivemindError], word: str
) -> None:
    whole = {"id": "c.0", "args": ("true",), **fields}
    with pytest.raises(error) as caught:
        await runtime.create(ContainerSpec(**whole))
    assert caught.value.hint
    assert word in caught.value.message + caught.value.hint
    assert await runtime.list() == []


async def test_without_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = ProcessRuntime(tmp_path / "state", tmp_path / "run")
    monkeypatch.setattr(runtime._groups, "open", lambda: "control groups are not writable here")
    await runtime.open()
    try:
        with pytest.raises(Unsupported, match="limits cannot be enforced"):
            await runtime.create(spec("true", memory=2**20))
        await run(runtime, "(setsid sleep 1000 >/dev/null 2>&1) & sleep 0.1; echo ready; wait")
        await ready(runtime)
        stats = await runtime.stats("c.0")
        assert stats.pids >= 2 and stats.memory > 0
        async with asyncio.timeout(20):
            assert (await runtime.stop("c.0", "SIGKILL", 5)).code == 137
        session = None
        await run(runtime, FOREVER, "d.0")
        session = await runtime.exec("d.0", ExecSpec(args=("sh", "-c", "echo up; sleep 1000")))
        assert await session.read() == ("stdout", b"up\n")
        await session.close()
        assert next(c for c in await runtime.list() if c.id == "d.0").status == Status.RUNNING
    finally:
        await runtime.destroy()


@pytest.mark.real
async def test_the_memory_limit_kills_and_says_so(runtime: ProcessRuntime) -> None:
    assert runtime.why_no_limits == ""
    eater = "import os; os.write(1, b'eating\\n'); x = bytearray(200 << 20); print(len(x))"
    await runtime.create(ContainerSpec(id="c.0", args=(sys.executable, "-c", eater), memory=64 * 2**20))
    await runtime.start("c.0")
    async with asyncio.timeout(30):
        exit = await runtime.wait("c.0")
        events = runtime.events()
        kinds = [(await anext(events)).kind, (await anext(events)).kind]
        await events.aclose()
    assert (exit.code, exit.oom) == (137, True)
    assert kinds == ["oom", "exited"]


@pytest.mark.real
async def test_the_limit_of_processes_and_the_user(runtime: ProcessRuntime) -> None:
    script = "id -un; for i in 1 2 3 4 5 6 7 8; do sleep 0.2 & done; wait"
    await run(runtime, script, pids=4, user="nobody", workdir="/")
    async with asyncio.timeout(30):
        await runtime.wait("c.0")
    lines = [line.text async for line in runtime.logs("c.0", LogQuery())]
    assert lines[0] == "nobody"
    assert any("fork" in line for line in lines[1:])


@pytest.mark.real
async def test_a_network_namespace_is_joined_by_the_command_and_by_exec(runtime: ProcessRuntime) -> None:
    holder = await asyncio.create_subprocess_exec(
        "unshare", "--net", "sh", "-c", "echo up; exec sleep 1000", stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    try:
        assert await holder.stdout.readline() == b"up\n"
        script = "grep -c : /proc/net/dev; while :; do sleep 0.05; done"
        await run(runtime, script, netns=f"/proc/{holder.pid}/ns/net")
        await ready(runtime)
        session = await runtime.exec("c.0", ExecSpec(args=("readlink", "/proc/self/ns/net")))
        item = await session.read()
        assert item is not None
        assert item[1].decode().strip() == os.readlink(f"/proc/{holder.pid}/ns/net")
        await session.close()
        assert (await runtime.stats("c.0")).net_rx == 0
    finally:
        holder.kill()
        await holder.communicate()


async def test_a_fleeting_command_that_says_nothing_leaves_the_disk_alone(
    tmp_path: Path, runtime: ProcessRuntime
) -> None:
    await run(runtime, "exit 3", fleeting=True)
    assert (await runtime.wait("c.0")).code == 3
    assert os.listdir(tmp_path / "state/commands") == os.listdir(tmp_path / "state/logs") == []
    assert os.listdir(tmp_path / "run/commands") == ["c.0"]
    await runtime.remove("c.0")
    assert os.listdir(tmp_path / "run/commands") == []


async def test_a_fleeting_command_outlives_the_daemon(tmp_path: Path, runtime: ProcessRuntime) -> None:
    os.mkfifo(tmp_path / "gate")
    await run(runtime, f"echo said; read line < {tmp_path / 'gate'}; exit 6", fleeting=True)
    await ready(runtime)
    await runtime.close()
    second = ProcessRuntime(tmp_path / "state", tmp_path / "run")
    await second.open()
    assert [container.status for container in await second.list()] == [Status.RUNNING]
    (tmp_path / "gate").write_text("go\n")
    async with asyncio.timeout(20):
        assert (await second.wait("c.0")).code == 6
    await second.remove("c.0")
    assert os.listdir(tmp_path / "state/logs") == os.listdir(tmp_path / "run/commands") == []
    await second.close()
    runtime._held.clear()


async def test_of_a_fleeting_command_its_log_outlives_the_machine(
    tmp_path: Path, runtime: ProcessRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run(runtime, FOREVER, fleeting=True, labels={"whose": "mine"})
    await run(runtime, "sleep 1000", "silent.0", fleeting=True)
    await ready(runtime)
    shim = shim_pid(runtime)
    await runtime.close()
    os.kill(shim, signal.SIGKILL)
    await gone(shim, start_time(shim))
    for record in (tmp_path / "run/commands").iterdir():  # as after a restart of the machine
        record.unlink()
    second = ProcessRuntime(tmp_path / "state", tmp_path / "run")
    monkeypatch.setattr(process_runtime, "boot_id", lambda: "another")
    await second.open()
    [container] = await second.list()
    assert container.id == "c.0" and container.labels == {"whose": "mine"}
    assert "restarted" in (await second.wait("c.0")).reason
    assert [line.text async for line in second.logs("c.0", LogQuery())] == ["ready"]
    await second.remove("c.0")
    assert os.listdir(tmp_path / "state/logs") == []
    await second.close()
    runtime._held.clear()
