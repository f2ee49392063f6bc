"""Logs as the engine keeps them, line by line, and without a gap when the engine is started anew meanwhile.

The engine gives each record its time. A line of more than 16 KiB is several records of the same time, each with a
frame of its own. From a terminal there are no frames; there such a record is known by its length.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator

from hivemind.drivers.runtimes.contract import LogLine, LogQuery, Status
from hivemind.drivers.runtimes.docker.container import Held, nanoseconds, stamp
from hivemind.drivers.runtimes.docker.engine import Engine
from hivemind.drivers.runtimes.docker.streams import Frames, Stream
from hivemind.errors import Invalid, Unavailable

LONGEST_LINE = 1 << 20
"""Bytes; a longer line is given in pieces, so that a program that never ends its line cannot fill memory."""
_RECORD = 16 << 10
"""Bytes after which the engine begins a new record within a line."""
_AGAIN = 0.5
"""Seconds until an engine that went away in the middle of a log is asked again."""
_STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(?:Z|[+-]\d\d:\d\d) ")


async def read_log(engine: Engine, held: Held, query: LogQuery) -> AsyncIterator[LogLine]:
    """As `Runtime.logs`."""
    if query.tail is not None and query.tail < 0:
        raise Invalid("tail must not be negative", hint="leave it out to get the whole log")
    if query.tail is not None and query.until:
        lines = _within(_followed(engine, held, query, None), query)
        for line in deque([line async for line in lines], maxlen=query.tail):
            yield line
        return
    async for line in _within(_followed(engine, held, query, query.tail), query):
        yield line


async def _within(lines: AsyncIterator[LogLine], query: LogQuery) -> AsyncIterator[LogLine]:
    async for line in lines:
        if line.time >= query.since and (not query.until or line.time < query.until):
            yield line


async def _followed(engine: Engine, held: Held, query: LogQuery, tail: int | None) -> AsyncIterator[LogLine]:
    """With `follow`, asks again whenever the engine's answer ends before the container does, and once more after
    that: what it missed between is told then."""
    if query.follow:
        await held.running.wait()
    since = query.since
    given: Counter[LogLine] = Counter()  # all those of the last moment that was given
    while True:
        over = not query.follow or held.status is Status.EXITED
        already = given.copy()
        try:
            async for line in _once(engine, held, since, query.until, tail, follow=not over):
                if already[line] > 0:
                    already[line] -= 1
                    continue
                if line.time > since or not given:
                    given.clear()
                    since = max(since, line.time)
                given[line] += 1
                tail = None
                yield line
        except Unavailable:
            if over:
                raise
            await asyncio.sleep(_AGAIN)
        if over:
            return
        if held.status is not Status.EXITED and not await _ends_soon(held):
            await asyncio.sleep(_AGAIN)
        if tail is not None and not given:
            tail, since = None, max(since, 1)


async def _ends_soon(held: Held) -> bool:
    """The engine ends the log a moment before it tells of the container's end."""
    try:
        async with asyncio.timeout(_AGAIN):
            await held.ended.wait()
    except TimeoutError:
        return False
    return True


async def _once(
    engine: Engine, held: Held, since: int, until: int, tail: int | None, *, follow: bool
) -> AsyncIterator[LogLine]:
    asked: dict[str, str | int] = {"stdout": 1, "stderr": 1, "timestamps": 1, "follow": int(follow)}
    if since:
        asked["since"] = stamp(since)
    if until:
        asked["until"] = stamp(until)
    if tail is not None:
        asked["tail"] = tail
    records = _FromTerminal() if held.tty else _Framed()
    joiner = _Joiner()
    async with engine.stream("GET", f"/containers/{held.engine_id}/logs", query=asked) as response:
        async for chunk in response.chunks():
            for stream, record in records.feed(chunk):
                for line in joiner.feed(stream, record):
                    yield line
    for line in joiner.rest():
        yield line


class _Framed:
    def __init__(self) -> None:
        self._frames = Frames()

    def feed(self, data: bytes) -> Iterator[tuple[Stream, bytes]]:
        return self._frames.feed(data)


class _FromTerminal:
    """Cuts at the ends of lines, and where after a full record the next one's time stands."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[Stream, bytes]]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            for record in _cut(line):
                yield "stdout", record
            yield "stdout", b"\n"


def _cut(line: bytes) -> Iterator[bytes]:
    while (head := _STAMP.match(line)) and _STAMP.match(line, head.end() + _RECORD):
        yield line[: head.end() + _RECORD]
        line = line[head.end() + _RECORD :]
    yield line


class _Joiner:
    """Records to lines. All records of a line have its time, so one of another time begins another line."""

    def __init__(self) -> None:
        self._parts: dict[Stream, tuple[int, bytearray]] = {}

    def feed(self, stream: Stream, record: bytes) -> Iterator[LogLine]:
        head = _STAMP.match(record)
        before = self._parts.get(stream)
        when = nanoseconds(head[0][:-1].decode("ascii")) if head else before[0] if before else 0
        if before and before[0] != when:
            yield _line(before[0], stream, bytes(before[1]))
            before = None
        parts = before[1] if before else bytearray()
        parts += record[head.end() :] if head else record
        whole = parts.endswith(b"\n")
        if whole or len(parts) >= LONGEST_LINE:
            self._parts.pop(stream, None)
            yield _line(when, stream, bytes(parts[:-1] if whole else parts))
        else:
            self._parts[stream] = (when, parts)

    def rest(self) -> Iterator[LogLine]:
        """Lines that never got their end."""
        for stream, (when, parts) in self._parts.items():
            if parts:
                yield _line(when, stream, bytes(parts))
        self._parts.clear()


def _line(when: int, stream: Stream, text: bytes) -> LogLine:
    return LogLine(when, stream, text.removesuffix(b"\r").decode("utf-8", "replace"))
