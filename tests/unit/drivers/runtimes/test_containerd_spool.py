"""Output on its way into the log: every byte once, whatever is killed when."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivemind.drivers.runtimes.containerd import spool as module
from hivemind.drivers.runtimes.containerd.spool import STREAMS, Reader, Spool, Stream
from hivemind.drivers.runtimes.contract import LogQuery
from hivemind.drivers.runtimes.logs import read_log


def made(path: Path, **limits: int) -> Spool:
    path.mkdir(exist_ok=True, parents=True)
    spool = Spool(path, max_size=limits.get("max_size", 1 << 20), max_files=limits.get("max_files", 50))
    spool.make()
    return spool


def write(spool: Spool, stream: Stream, text: bytes) -> None:
    with open(spool.paths[stream], "ab") as file:
        file.write(text)


def lines(spool: Spool, stream: Stream) -> list[str]:
    async def read() -> list[str]:
        return [line.text async for line in read_log(spool.log, LogQuery()) if line.stream == stream]

    return asyncio.run(read())


def test_both_streams_arrive(tmp_path: Path) -> None:
    spool = made(tmp_path)
    write(spool, "stdout", b"one\ntwo")
    write(spool, "stderr", b"oops\n")
    spool.drain()
    write(spool, "stdout", b" and a half\n")
    spool.drain()
    assert lines(spool, "stdout") == ["one", "two and a half"]
    assert lines(spool, "stderr") == ["oops"]


def test_times_are_those_of_the_writing_not_of_the_taking(tmp_path: Path) -> None:
    spool = made(tmp_path)
    write(spool, "stdout", b"long ago\n")
    os.utime(spool.paths["stdout"], ns=(10**18, 10**18))
    spool.drain()

    async def read() -> list[int]:
        return [line.time async for line in read_log(spool.log, LogQuery())]

    assert asyncio.run(read()) == [10**18]


class Killed(BaseException):
    pass


@settings(max_examples=40, deadline=None)
@given(
    amounts=st.lists(st.integers(0, 40), min_size=1, max_size=12),
    kills=st.lists(st.integers(1, 12), max_size=6),
    torn=st.booleans(),
)
def test_a_daemon_killed_at_any_call_loses_nothing_and_tells_nothing_twice(
    amounts: list[int], kills: list[int], torn: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    spool = made(tmp_path_factory.mktemp("spool"), max_size=400)
    real = {name: getattr(os, name) for name in ("write", "pwrite", "truncate", "replace")}
    left = 0

    def killing(name: str) -> object:
        def call(*args: object, **options: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                if name == "write" and torn:
                    real["write"](args[0], bytes(args[1])[:7])  # type: ignore[call-overload]
                raise Killed
            return real[name](*args, **options)

        return call

    written: dict[Stream, int] = dict.fromkeys(STREAMS, 0)
    with pytest.MonkeyPatch.context() as patch:
        for name in real:
            patch.setattr(module.os, name, killing(name))
        for index, amount in enumerate(amounts):
            for stream in STREAMS:
                text = "".join(f"{stream} {written[stream] + i}\n" for i in range(amount)).encode()
                fd = os.open(spool.paths[stream], os.O_WRONLY | os.O_APPEND)
                real["write"](fd, text)
                os.close(fd)
                written[stream] += amount
            left = kills[index] if index < len(kills) else 0
            try:
                spool.drain()
                left = 0
            except Killed:
                spool = Spool(spool.log.parent, max_size=400, max_files=50)
        left = 0
        spool.drain()
    for stream in STREAMS:
        assert lines(spool, stream) == [f"{stream} {i}" for i in range(written[stream])]


def test_two_daemons_at_once_take_everything_once(tmp_path: Path) -> None:
    one = made(tmp_path, max_size=300)
    two = Spool(tmp_path, max_size=300, max_files=50)
    for number in range(100):
        write(one, "stdout", f"line {number}\n".encode())
        (one if number % 3 else two).pump()
    assert lines(one, "stdout") == [f"line {number}" for number in range(100)]


def test_space_is_given_back(tmp_path: Path) -> None:
    spool = made(tmp_path, max_size=1 << 16, max_files=2)
    for _ in range(8):
        write(spool, "stdout", b"x" * 99 + b"\n" + b"y" * (1 << 20) + b"\n")
        spool.drain()
    found = spool.paths["stdout"].stat()
    assert found.st_size > 8 << 20
    assert found.st_blocks * 512 < 3 << 20
    assert sum(path.stat().st_size for path in tmp_path.glob("log*")) < 1 << 18


def test_what_somebody_still_reads_is_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        spool = made(tmp_path, max_size=1 << 16, max_files=2)
        reader = Reader(spool, dict.fromkeys(STREAMS, 0))
        text = b"z" * (3 << 20)
        write(spool, "stdout", text)
        spool.drain()
        found = b""
        while chunk := reader.read():
            found += chunk[1]
        assert found == text
        reader.close()
        write(spool, "stdout", b"more\n")
        spool.drain()
        assert spool.paths["stdout"].stat().st_blocks * 512 < 1 << 20

    asyncio.run(scenario())


def test_a_removed_container_is_no_error(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "gone", max_size=1, max_files=1)
    assert spool.pump() is False
