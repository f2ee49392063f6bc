"""Commands inside a running container: the same for every runtime."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hivemind.drivers.runtimes.contract import ExecSession, ExecSpec, Runtime
from hivemind.errors import Conflict, NotFound

if TYPE_CHECKING:
    from tests.contract.runtimes.conftest import Bench

pytestmark = pytest.mark.anyio


@pytest.fixture
async def id(bench: Bench, runtime: Runtime) -> str:
    spec = bench.spec("while :; do sleep 0.05; done", env={"BASE": "of the container"}, workdir="/tmp")
    await runtime.create(spec)
    await runtime.start(spec.id)
    return spec.id


async def everything(session: ExecSession) -> dict[str, bytes]:
    found = {"stdout": b"", "stderr": b""}
    async with asyncio.timeout(20):
        while (item := await session.read()) is not None:
            found[item[0]] += item[1]
    return found


async def test_output_and_exit_code(runtime: Runtime, id: str) -> None:
    session = await runtime.exec(id, ExecSpec(args=("sh", "-c", "echo out; echo err >&2; exit 9")))
    assert await everything(session) == {"stdout": b"out\n", "stderr": b"err\n"}
    assert await session.wait() == 9
    assert await session.read() is None
    await session.close()


async def test_it_has_the_containers_env_and_workdir_and_its_own(runtime: Runtime, id: str) -> None:
    session = await runtime.exec(id, ExecSpec(args=("sh", "-c", "env; pwd"), env={"OWN": "value"}))
    lines = (await everything(session))["stdout"].decode().splitlines()
    assert "BASE=of the container" in lines
    assert "OWN=value" in lines
    assert lines[-1] == "/tmp"
    await session.close()


async def test_stdin_until_its_end(runtime: Runtime, id: str) -> None:
    session = await runtime.exec(id, ExecSpec(args=("cat",), stdin=True))
    await session.write(b"hello\n")
    await session.write(b"x" * 200_000 + b"\n")
    await session.close_stdin()
    assert len((await everything(session))["stdout"]) == 200_007
    assert await session.wait() == 0
    await session.close()


async def test_without_stdin_the_command_reads_an_end(runtime: Runtime, id: str) -> None:
    session = await runtime.exec(id, ExecSpec(args=("cat",)))
    assert await everything(session) == {"stdout": b"", "stderr": b""}
    assert await session.wait() == 0
    await session.close()


async def test_a_terminal_has_its_size_and_can_be_resized(bench: Bench, runtime: Runtime, id: str) -> None:
    sized = "" if bench.sized_at_start else 'until test "$(stty size)" = "33 101"; do sleep 0.01; done;'
    command = ("sh", "-c", f"{sized} stty size; read line; stty size")
    session = await runtime.exec(id, ExecSpec(args=command, tty=True, stdin=True, columns=101, rows=33))
    output = b""
    async with asyncio.timeout(20):
        while b"33 101" not in output:
            item = await session.read()
            assert item is not None and item[0] == "stdout"
            output += item[1]
    await session.resize(120, 40)
    await session.write(b"\n")
    assert b"40 120" in (await everything(session))["stdout"]
    assert await session.wait() == 0
    await session.close()


async def test_an_unknown_command_is_127_and_told_once(runtime: Runtime, id: str) -> None:
    session = await runtime.exec(id, ExecSpec(args=("no-such-program-here",)))
    said = await everything(session)
    assert (said["stdout"] + said["stderr"]).count(b"No such file") <= 1
    assert said["stderr"].count(b"no-such-program-here") == 1
    assert await session.wait() == 127
    await session.close()


async def test_close_kills_it(runtime: Runtime, id: str) -> None:
    session = await runtime.exec(id, ExecSpec(args=("sh", "-c", "echo up; sleep 1000")))
    async with asyncio.timeout(20):
        assert await session.read() == ("stdout", b"up\n")
        await session.close()
        assert await session.wait() == 137


async def test_it_ends_with_the_container(runtime: Runtime, id: str) -> None:
    session = await runtime.exec(id, ExecSpec(args=("sh", "-c", "echo up; sleep 1000")))
    async with asyncio.timeout(20):
        await session.read()
        await runtime.stop(id, "SIGKILL", 5)
        assert await session.wait() == 137
    await session.close()


async def test_only_where_something_runs(bench: Bench, runtime: Runtime) -> None:
    with pytest.raises(NotFound):
        await runtime.exec("nothing.0", ExecSpec(args=("true",)))
    spec = bench.spec("exit 0")
    await runtime.create(spec)
    await runtime.start(spec.id)
    await runtime.wait(spec.id)
    with pytest.raises(Conflict):
        await runtime.exec(spec.id, ExecSpec(args=("true",)))
