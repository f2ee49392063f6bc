"""Logs: the same lines in the same order from every runtime."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hivemind.drivers.runtimes.contract import LogQuery, Runtime
from hivemind.drivers.runtimes.logs import read_log
from hivemind.errors import Conflict

if TYPE_CHECKING:
    from tests.contract.runtimes.conftest import Bench

pytestmark = pytest.mark.anyio


async def logs_of(
    runtime: Runtime, bench: Bench, script: str, query: LogQuery, **fields: object
) -> list[tuple[str, str]]:
    spec = bench.spec(script, **fields)
    await runtime.create(spec)
    await runtime.start(spec.id)
    async with asyncio.timeout(60):
        await runtime.wait(spec.id)
        return [(line.stream, line.text) async for line in runtime.logs(spec.id, query)]


async def test_lines_have_streams_and_rising_times(bench: Bench, runtime: Runtime) -> None:
    spec = bench.spec("echo one; sleep 0.05; echo two >&2; sleep 0.05; echo three")
    await runtime.create(spec)
    await runtime.start(spec.id)
    await runtime.wait(spec.id)
    lines = [line async for line in runtime.logs(spec.id, LogQuery())]
    assert [(line.stream, line.text) for line in lines] == [
        ("stdout", "one"),
        ("stderr", "two"),
        ("stdout", "three"),
    ]
    assert lines[0].time < lines[1].time < lines[2].time
    since = [line async for line in runtime.logs(spec.id, LogQuery(since=lines[1].time))]
    assert since == lines[1:]
    until = [line async for line in runtime.logs(spec.id, LogQuery(until=lines[2].time))]
    assert until == lines[:2]


async def test_tail(bench: Bench, runtime: Runtime) -> None:
    script = "for i in 1 2 3 4 5; do echo $i; done"
    assert await logs_of(runtime, bench, script, LogQuery(tail=2)) == [("stdout", "4"), ("stdout", "5")]
    assert await logs_of(runtime, bench, script, LogQuery(tail=0)) == []


async def test_what_was_written_without_a_line_end(bench: Bench, runtime: Runtime) -> None:
    script = "echo -n half; sleep 0.05; echo ' whole'; echo -n rest"
    assert await logs_of(runtime, bench, script, LogQuery()) == [("stdout", "half whole"), ("stdout", "rest")]


async def test_empty_lines_and_blanks_are_kept(bench: Bench, runtime: Runtime) -> None:
    lines = await logs_of(runtime, bench, "echo; echo '  two  '; echo", LogQuery())
    assert lines == [("stdout", ""), ("stdout", "  two  "), ("stdout", "")]


async def test_bytes_that_are_no_text_are_replaced(bench: Bench, runtime: Runtime) -> None:
    lines = await logs_of(runtime, bench, r"printf 'a\377b\nc\000d\n'", LogQuery())
    assert lines == [("stdout", "a\ufffdb"), ("stdout", "c\0d")]


async def test_follow_ends_with_the_container(bench: Bench, runtime: Runtime) -> None:
    spec = bench.spec("echo a; sleep 0.1; echo b; sleep 0.1; echo c; exit 3")
    await runtime.create(spec)
    await runtime.start(spec.id)
    async with asyncio.timeout(30):
        assert [line.text async for line in runtime.logs(spec.id, LogQuery(follow=True))] == ["a", "b", "c"]
        again = [line.text async for line in runtime.logs(spec.id, LogQuery(follow=True, tail=1))]
    assert again == ["c"]


async def test_following_does_not_wait_for_the_end_to_give_lines(bench: Bench, runtime: Runtime) -> None:
    spec = bench.spec("echo first; while :; do sleep 0.05; done")
    await runtime.create(spec)
    await runtime.start(spec.id)
    lines = runtime.logs(spec.id, LogQuery(follow=True))
    async with asyncio.timeout(20):
        assert (await anext(lines)).text == "first"
    await lines.aclose()


async def test_rotation_keeps_the_newest_lines_whole_and_in_order(bench: Bench, runtime: Runtime) -> None:
    numbers = " ".join(str(number) for number in range(2000))
    script = f"for i in {numbers}; do echo line-$i-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done"
    lines = await logs_of(runtime, bench, script, LogQuery(), log_max_size=32768, log_max_files=3)
    found = [int(text.split("-")[1]) for _, text in lines]
    assert found == list(range(found[0], 2000))
    tail = await logs_of(runtime, bench, script, LogQuery(tail=500), log_max_size=32768, log_max_files=3)
    assert [int(text.split("-")[1]) for _, text in tail] == list(range(1500, 2000))[-len(tail) :]
    assert len(tail) > 300


async def test_a_very_long_line_comes_back_whole(bench: Bench, runtime: Runtime) -> None:
    script = f"echo {'x' * 50_000}; echo end"
    lines = await logs_of(runtime, bench, script, LogQuery())
    assert [len(text) for _, text in lines] == [50_000, 3]


async def test_a_log_is_kept_beyond_its_container(bench: Bench, runtime: Runtime, tmp_path: Path) -> None:
    kept = tmp_path / "kept" / "one"
    lines = await logs_of(runtime, bench, "echo one; echo two >&2", LogQuery(), id="keep-1.0")
    assert len(lines) == 2
    await runtime.keep_log("keep-1.0", kept)
    await runtime.keep_log("keep-1.0", kept)
    await runtime.remove("keep-1.0")
    assert [(line.stream, line.text) async for line in read_log(kept, LogQuery())] == lines
    assert [line.text async for line in read_log(kept, LogQuery(tail=1))] == [lines[-1][1]]


async def test_nothing_is_kept_of_a_container_that_said_nothing(
    bench: Bench, runtime: Runtime, tmp_path: Path
) -> None:
    await logs_of(runtime, bench, "exit 0", LogQuery(), id="silent-1.0")
    await runtime.keep_log("silent-1.0", tmp_path / "kept" / "two")
    assert not (tmp_path / "kept").exists()


async def test_the_log_of_what_runs_is_not_taken_away(bench: Bench, runtime: Runtime, tmp_path: Path) -> None:
    spec = bench.spec("echo one; while :; do sleep 0.05; done")
    await runtime.create(spec)
    await runtime.start(spec.id)
    with pytest.raises(Conflict):
        await runtime.keep_log(spec.id, tmp_path / "kept")
