"""Reading container logs: one format for every runtime, over rotated files, from any end, with follow.

A record is one line of the Kubernetes log format, `2026-11-21T05:00:00.123456789Z stdout F text`: the time it
was read, the stream, `F` for the end of a line or `P` for a part of one that goes on in the stream's next
record, and the text. The newest file is `x.log`; older ones are `x.log.1`, `x.log.2` and so on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from hivemind.drivers.runtimes.contract import LogLine, LogQuery
from hivemind.drivers.runtimes.inotify import CREATE, MODIFY, MOVED_TO, Inotify
from hivemind.errors import Invalid

LONGEST_LINE = 2**20
"""Bytes; a longer line is given in pieces, so that a program that never ends its line cannot fill memory."""

_BLOCK = 2**16
_LINE_END = re.compile(rb"^\S+ std(?:out|err) F", re.MULTILINE)


async def read_log(
    path: Path, query: LogQuery, ended: Callable[[], Awaitable[object]] | None = None
) -> AsyncIterator[LogLine]:
    """The lines of the log whose newest file is `path`, in order; a missing log has none.

    With `query.follow` it goes on until `ended()` has returned and everything written by then was given;
    `ended` must return only after the last record is in the file. Close the iterator to stop earlier."""
    if query.tail is not None and query.tail < 0:
        raise Invalid("tail must not be negative", hint="leave it out to get the whole log")
    with contextlib.closing(_RotatedFiles(path, query.since)) as files, contextlib.ExitStack() as stack:
        following = _Following(path, query, ended) if query.follow and ended else None
        if following is not None:
            stack.callback(following.close)
        if query.tail is not None and not query.until:
            files.skip_to_tail(query.tail)
        joiner = _Joiner()
        lines = _chosen(joiner, files, query)
        if query.tail is not None:
            kept = deque([line async for line in lines], maxlen=query.tail)
            if following is None:
                kept.extend(_within(joiner.rest(), query))
            for line in kept:
                yield line
        else:
            async for line in lines:
                yield line
        while following is not None and not following.finished:
            await following.news()
            async for line in _chosen(joiner, files, query):
                yield line
        if following is not None or query.tail is None:
            for line in _within(joiner.rest(), query):
                yield line


async def _chosen(joiner: _Joiner, files: _RotatedFiles, query: LogQuery) -> AsyncIterator[LogLine]:
    for block in files.read():
        for line in _within(joiner.feed(block), query):
            yield line
        await asyncio.sleep(0)


def _within(lines: Iterator[LogLine], query: LogQuery) -> Iterator[LogLine]:
    for line in lines:
        if line.time >= query.since and (not query.until or line.time < query.until):
            yield line


class _RotatedFiles:
    """All files of one log as one stream of whole records, oldest first, across rotations.

    Files are opened newest first: one that is renamed meanwhile moves to a number not yet looked at, so none is
    missed; it may be met twice, which its inode tells."""

    def __init__(self, path: Path, since: int = 0) -> None:
        self._path = path
        self._open: list[int] = []
        self._rest = b""
        self._look()
        while len(self._open) > 1 and os.fstat(self._open[0]).st_mtime_ns < since:
            self._drop_oldest()

    def read(self) -> Iterator[bytes]:
        """Everything not yet read, in blocks that end with a record."""
        while True:
            self._look()
            if not self._open:
                return
            rotated = len(self._open) > 1
            while data := os.read(self._open[0], _BLOCK):
                data = self._rest + data
                end = data.rfind(b"\n") + 1
                self._rest = data[end:]
                if end:
                    yield data[:end]
            if not rotated:
                return
            self._drop_oldest()

    def skip_to_tail(self, count: int) -> None:
        """Goes to a place shortly before the last `count` lines, reading only from there to the end."""
        found = before = 0
        for index in range(len(self._open) - 1, -1, -1):
            fd = self._open[index]
            at = os.fstat(fd).st_size
            while at > 0 and before < _BLOCK:
                start = max(0, at - _BLOCK)
                if found <= count:
                    found += len(_LINE_END.findall(os.pread(fd, at - start, start)))
                else:  # one block more, for first parts of lines that are interleaved with the other stream's
                    before += at - start
                at = start
            if before >= _BLOCK:
                for _ in range(index):
                    self._drop_oldest()
                self._seek(fd, at)
                return

    def close(self) -> None:
        for fd in self._open:
            os.close(fd)
        self._open.clear()

    def _look(self) -> None:
        """Opens what came since the last look."""
        known = {os.fstat(fd).st_ino for fd in self._open}
        fresh: list[int] = []
        number = 0
        while True:
            name = f"{self._path}.{number}" if number else str(self._path)
            try:
                fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                if number:
                    break
                number += 1  # between the renaming of the newest file and its replacement
                continue
            inode = os.fstat(fd).st_ino
            if inode in known:
                os.close(fd)
                break  # everything older is known too
            known.add(inode)
            fresh.append(fd)
            number += 1
        self._open += reversed(fresh)

    def _drop_oldest(self) -> None:
        os.close(self._open.pop(0))
        self._rest = b""

    @staticmethod
    def _seek(fd: int, at: int) -> None:
        os.lseek(fd, at, os.SEEK_SET)
        if at == 0:
            return
        at -= 1
        while block := os.pread(fd, _BLOCK, at):
            newline = block.find(b"\n")
            if newline >= 0:
                os.lseek(fd, at + newline + 1, os.SEEK_SET)
                return
            at += len(block)
        os.lseek(fd, 0, os.SEEK_END)


class _Joiner:
    """Records to lines: joins parts, and parses times at the cost of one parse a second of log."""

    def __init__(self) -> None:
        self._parts: dict[bytes, tuple[int, bytearray]] = {}
        self._second = (b"", b"", 0)

    def feed(self, block: bytes) -> Iterator[LogLine]:
        for record in block.split(b"\n"):
            fields = record.split(b" ", 3)
            if len(fields) < 3 or fields[1] not in (b"stdout", b"stderr"):
                continue  # torn by a crash in the middle of a write
            stamp, stream, tag = fields[:3]
            text = fields[3] if len(fields) == 4 else b""
            try:
                when = self._time(stamp)
            except ValueError:
                continue
            whole = tag[:1] == b"F"
            if whole and stream not in self._parts:
                yield _line(when, stream, text)
                continue
            first, parts = self._parts.setdefault(stream, (when, bytearray()))
            parts += text
            if whole or len(parts) >= LONGEST_LINE:
                del self._parts[stream]
                yield _line(first, stream, bytes(parts))

    def rest(self) -> Iterator[LogLine]:
        """Lines that never got their end."""
        for stream, (when, parts) in self._parts.items():
            if parts:
                yield _line(when, stream, bytes(parts))
        self._parts.clear()

    def _time(self, stamp: bytes) -> int:
        second, zone = stamp[:19], stamp[19:].lstrip(b".0123456789")
        fraction = stamp[20 : len(stamp) - len(zone)]
        if self._second[:2] != (second, zone):
            moment = datetime.fromisoformat((second + zone).decode("ascii"))
            whole = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
            self._second = (second, zone, whole)
        return self._second[2] * 10**9 + int(fraction[:9].ljust(9, b"0") or b"0")


def _line(when: int, stream: bytes, text: bytes) -> LogLine:
    name: Literal["stdout", "stderr"] = "stdout" if stream == b"stdout" else "stderr"
    return LogLine(when, name, text.decode("utf-8", "replace"))


class _Following:
    """Wakes the reader when the log's directory changes, the container ended, or the time asked for is over."""

    def __init__(self, path: Path, query: LogQuery, ended: Callable[[], Awaitable[object]]) -> None:
        self._news = asyncio.Event()
        self._inotify = Inotify()
        try:
            self._inotify.add(path.parent, MODIFY | CREATE | MOVED_TO)
        except BaseException:
            self._inotify.close()
            raise
        self._tasks = [asyncio.ensure_future(self._listen())]
        self._end = asyncio.ensure_future(_until(ended, query.until))
        self._end.add_done_callback(lambda _: self._news.set())
        self.finished = False

    async def news(self) -> None:
        """Returns when there may be more to read; `finished` is set when this was the last time."""
        await self._news.wait()
        self._news.clear()
        if self._end.done():
            self._end.result()
            self.finished = True

    def close(self) -> None:
        for task in (*self._tasks, self._end):
            task.cancel()
        self._inotify.close()

    async def _listen(self) -> None:
        async for _ in self._inotify:
            self._news.set()


async def _until(ended: Callable[[], Awaitable[object]], until: int) -> None:
    if not until:
        await ended()
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, (until - time.time_ns()) / 1e9)):
            await ended()
