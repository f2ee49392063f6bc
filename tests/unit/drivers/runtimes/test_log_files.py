"""Log files: what the writer writes in any pieces, the reader gives back, over rotations and from any end."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivemind.drivers.runtimes.contract import LogLine, LogQuery
from hivemind.drivers.runtimes.logfile import LogFile
from hivemind.drivers.runtimes.logs import read_log
from hivemind.errors import Invalid

pytestmark = pytest.mark.anyio
NOON = 1_795_000_000 * 10**9


async def read(path: Path, query: LogQuery) -> list[LogLine]:
    return [line async for line in read_log(path, query)]


def write(path: Path, pieces: list[tuple[bytes, bytes]], max_size: int, max_files: int = 1000) -> None:
    log = LogFile(str(path), max_size, max_files)
    for number, (stream, data) in enumerate(pieces):
        log.write(stream, data, NOON + number * 10**6)
    log.close()


_PIECES = st.lists(
    st.tuples(
        st.sampled_from([b"stdout", b"stderr"]), st.lists(st.sampled_from([b"a", b"bc ", b"\n", b"\xff"]))
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(_PIECES, st.integers(40, 400), st.integers(0, 20))
def test_what_is_written_in_pieces_is_read_as_lines(
    pieces: list[tuple[bytes, list[bytes]]], max_size: int, tail: int
) -> None:
    flat = [(stream, b"".join(data)) for stream, data in pieces]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "log"
        write(path, flat, max_size)
        lines = asyncio.run(read(path, LogQuery()))
        assert asyncio.run(read(path, LogQuery(tail=tail))) == lines[max(0, len(lines) - tail) :]
    for stream in ("stdout", "stderr"):
        written = b"".join(data for name, data in flat if name.decode() == stream)
        expected = written.decode("utf-8", "replace").split("\n")
        if not expected[-1]:
            expected.pop()
        assert [line.text for line in lines if line.stream == stream] == expected


async def test_at_most_the_promised_files_are_kept(tmp_path: Path) -> None:
    write(tmp_path / "log", [(b"stdout", b"x" * 50 + b"\n")] * 100, 300, 3)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["log", "log.1", "log.2"]
    assert all(file.stat().st_size <= 300 for file in tmp_path.iterdir())


async def test_one_file_only(tmp_path: Path) -> None:
    write(tmp_path / "log", [(b"stdout", b"%d\n" % number) for number in range(100)], 300, 1)
    assert [file.name for file in tmp_path.iterdir()] == ["log"]
    assert (await read(tmp_path / "log", LogQuery(tail=1)))[0].text == "99"


async def test_times_of_either_spelling(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(
        b"2026-11-21T05:00:00.123456789Z stdout F zulu\n"
        b"2026-11-21T07:00:00.5+02:00 stderr F offset\n"
        b"2026-11-21T05:00:01Z stdout F no fraction\n"
        b"torn rec\n\x00\x00\x00\n"
        b"2026-11-21T05:00:02.000000000Z stdout F\n"
        b"2026-11-21T05:00:02.0000000"
    )
    lines = await read(tmp_path / "log", LogQuery())
    base = 1_795_237_200 * 10**9
    assert [(line.time - base, line.text) for line in lines] == [
        (123_456_789, "zulu"),
        (500_000_000, "offset"),
        (10**9, "no fraction"),
        (2 * 10**9, ""),
    ]


async def test_a_missing_log_is_empty_and_a_negative_tail_is_refused(tmp_path: Path) -> None:
    assert await read(tmp_path / "log", LogQuery()) == []
    with pytest.raises(Invalid):
        await read(tmp_path / "log", LogQuery(tail=-1))


async def test_a_long_log_is_tailed_from_its_end(tmp_path: Path) -> None:
    write(tmp_path / "log", [(b"stdout", b"line %d\n" % number) for number in range(50_000)], 10**6)
    lines = await read(tmp_path / "log", LogQuery(tail=30_000))
    assert [line.text for line in lines] == [f"line {number}" for number in range(20_000, 50_000)]
    since = await read(tmp_path / "log", LogQuery(since=NOON + 49_990 * 10**6))
    assert [line.text for line in since] == [f"line {number}" for number in range(49_990, 50_000)]


async def test_following_over_rotations_misses_and_repeats_nothing(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "log"), 500, 50)
    ended = asyncio.Event()
    got: list[str] = []

    async def follow() -> None:
        async for line in read_log(tmp_path / "log", LogQuery(follow=True), ended.wait):
            got.append(line.text)  # noqa: PERF401 - one by one, as a reader does

    following = asyncio.ensure_future(follow())
    for number in range(1000):
        log.write(b"stdout", b"%d\n" % number, NOON + number)
        if number % 7 == 0:
            await asyncio.sleep(0)
    log.write(b"stdout", b"rest", NOON + 1000)
    ended.set()
    async with asyncio.timeout(20):
        await following
    log.close()
    assert got == [*map(str, range(1000)), "rest"]


async def test_following_ends_at_until(tmp_path: Path) -> None:
    write(tmp_path / "log", [(b"stdout", b"old\n")], 1000)
    query = LogQuery(follow=True, until=NOON + 1)
    never = asyncio.Event()
    async with asyncio.timeout(20):
        lines = [line.text async for line in read_log(tmp_path / "log", query, never.wait)]
    assert lines == ["old"]
