"""What a job of an engine wrote, as lines. The engine only tells bytes, when it is asked."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from hivemind.drivers.executors.contract import Executor, Job, Stream
from hivemind.drivers.runtimes.contract import LogLine, LogQuery

_STREAMS: tuple[Stream, ...] = ("stdout", "stderr")
_LOOK = 1.0
"""Seconds between two looks while it is followed."""
_NANO = 10**6


class EngineLog:
    def __init__(self, executor: Executor, id: str, job: Job) -> None:
        self._executor = executor
        self._id = id
        self._job = job
        self._read = dict.fromkeys(_STREAMS, 0)
        self._rest = dict.fromkeys(_STREAMS, b"")

    async def lines(self, clock: Callable[[], int]) -> AsyncIterator[LogLine]:
        """Everything from where the last reading stopped, with lines that have no end."""
        async for line in self._fresh(clock):
            yield line
        for stream in _STREAMS:
            if rest := self._rest[stream]:
                self._rest[stream] = b""
                yield LogLine(clock() * _NANO, stream, rest.decode("utf-8", "replace"))

    async def chosen(
        self, query: LogQuery, clock: Callable[[], int], over: Callable[[], bool]
    ) -> AsyncIterator[LogLine]:
        """As `Runtime.logs`, but that no line is older than its reading."""
        known = [line async for line in self._fresh(clock)]
        for line in known if query.tail is None else deque(known, maxlen=query.tail):
            yield line
        while query.follow and not over():
            await asyncio.sleep(_LOOK)
            async for line in self._fresh(clock):
                yield line
        async for line in self.lines(clock):
            yield line

    async def _fresh(self, clock: Callable[[], int]) -> AsyncIterator[LogLine]:
        for stream in _STREAMS:
            while data := await self._executor.output(self._id, self._job, stream, self._read[stream]):
                self._read[stream] += len(data)
                *whole, self._rest[stream] = (self._rest[stream] + data).split(b"\n")
                for text in whole:
                    yield LogLine(clock() * _NANO, stream, text.decode("utf-8", "replace"))
