"""Being attached to a container's main process: its output, its input, its terminal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hivemind.drivers.runtimes.contract import ExecSession, LogQuery, Runtime
from hivemind.errors import Conflict, HivemindError, NotFound, Unsupported

if TYPE_CHECKING:
    from tests.contract.runtimes.conftest import Bench

pytestmark = pytest.mark.anyio
attaching = pytest.mark.without("process")


async def until(session: ExecSession, wanted: bytes) -> bytes:
    found = b""
    async with asyncio.timeout(20):
        while wanted not in found:
            item = await session.read()
            assert item is not None, f"{wanted!r} did not come, but {found!r}"
            found += item[1]
    return found


async def everything(session: ExecSession) -> dict[str, bytes]:
    found = {"stdout": b"", "stderr": b""}
    async with asyncio.timeout(20):
        while (item := await session.read()) is not None:
            found[item[0]] += item[1]
    return found


@attaching
async def test_attached_before_the_start_nothing_is_lost(runtime: Runtime, bench: Bench) -> None:
    spec = bench.spec("echo first; echo problem >&2; exit 7")
    await runtime.create(spec)
    session = await runtime.attach(spec.id)
    await runtime.start(spec.id)
    assert await everything(session) == {"stdout": b"first\n", "stderr": b"problem\n"}
    assert await session.wait() == 7
    await session.close()


@attaching
async def test_input_reaches_the_process_and_its_end_too(runtime: Runtime, bench: Bench) -> None:
    spec = bench.spec("", args=("cat",), stdin=True)
    await runtime.create(spec)
    session = await runtime.attach(spec.id)
    await runtime.start(spec.id)
    await session.write(b"one\n")
    await until(session, b"one\n")
    many = b"".join(b"%07d\n" % number for number in range(30_000))

    async def send() -> None:
        await session.write(many)
        await session.close_stdin()

    sending = asyncio.create_task(send())
    assert (await everything(session))["stdout"] == many
    await sending
    assert await session.wait() == 0
    await session.close()


@attaching
async def test_without_input_there_is_only_its_end(runtime: Runtime, bench: Bench) -> None:
    spec = bench.spec("", args=("cat",))
    await runtime.create(spec)
    session = await runtime.attach(spec.id)
    await session.write(b"dropped\n")
    await runtime.start(spec.id)
    assert await everything(session) == {"stdout": b"", "stderr": b""}
    assert await session.wait() == 0
    await session.close()


@attaching
async def test_a_terminal_has_a_size_and_stays_when_one_leaves(runtime: Runtime, bench: Bench) -> None:
    spec = bench.spec("while :; do read line; echo got $line; stty size; done", tty=True, stdin=True)
    await runtime.create(spec)
    first = await runtime.attach(spec.id)
    await runtime.start(spec.id)
    await first.resize(101, 37)
    await first.write(b"one\n")
    assert b"37 101\r\n" in await until(first, b"37 101")
    await first.close()
    second = await runtime.attach(spec.id)
    await second.resize(66, 22)
    await second.write(b"two\n")
    assert b"got two\r\n" in await until(second, b"22 66")
    await runtime.stop(spec.id, "SIGKILL", 0)
    assert await second.wait() == 137
    assert await second.read() is None or await everything(second)
    await second.close()
    lines = [line.text async for line in runtime.logs(spec.id, LogQuery())]
    assert "got one" in lines and "got two" in lines


@attaching
async def test_leaving_ends_nothing(runtime: Runtime, bench: Bench) -> None:
    spec = bench.spec("echo up; while :; do sleep 0.05; done")
    await runtime.create(spec)
    session = await runtime.attach(spec.id)
    await runtime.start(spec.id)
    await until(session, b"up\n")
    reading = asyncio.create_task(session.read())
    await asyncio.sleep(0)
    await session.close()
    async with asyncio.timeout(10):
        assert await reading is None
    (container,) = await runtime.list()
    assert container.status == "running"


@attaching
async def test_two_see_the_same(runtime: Runtime, bench: Bench) -> None:
    spec = bench.spec("echo both")
    await runtime.create(spec)
    one, two = await runtime.attach(spec.id), await runtime.attach(spec.id)
    await runtime.start(spec.id)
    assert (await everything(one))["stdout"] == (await everything(two))["stdout"] == b"both\n"
    await one.close()
    await two.close()


@attaching
async def test_what_is_attached_to_survives_the_daemon(runtime: Runtime, bench: Bench) -> None:
    spec = bench.spec("while :; do read line; echo got $line; done", tty=True, stdin=True)
    await runtime.create(spec)
    before = await runtime.attach(spec.id)
    await runtime.start(spec.id)
    await before.write(b"one\n")
    await until(before, b"got one")
    await before.close()
    await runtime.close()
    later = await bench.open()
    session = await later.attach(spec.id)
    await session.write(b"two\n")
    await until(session, b"got two")
    await session.close()


async def test_the_ended_and_the_unknown_are_refused(runtime: Runtime, bench: Bench) -> None:
    with pytest.raises(NotFound):
        await runtime.attach("nobody.0")
    spec = bench.spec("true")
    await runtime.create(spec)
    await runtime.start(spec.id)
    await runtime.wait(spec.id)
    with pytest.raises((Conflict, Unsupported)) as refused:
        await runtime.attach(spec.id)
    assert isinstance(refused.value, HivemindError)


async def test_a_runtime_without_input_refuses_to_promise_it(runtime: Runtime, bench: Bench) -> None:
    if runtime.name != "process":
        return
    for fields in ({"stdin": True}, {"tty": True}):
        with pytest.raises(Unsupported):
            await runtime.create(bench.spec("cat", **fields))
