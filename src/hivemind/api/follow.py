"""Following logs over a WebSocket: what stands there, then what comes, replicas that join later included."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from starlette.websockets import WebSocket

from hivemind.api.endpoint import Call, encode_line
from hivemind.api.logs import LogsQuery, Marks, Source, history, reading, tail_of
from hivemind.api.streams import rang
from hivemind.drivers.runtimes.contract import LogQuery
from hivemind.errors import HivemindError, Invalid, Unavailable
from hivemind.model.allocation import Allocation
from hivemind.model.answers import LogEntry

_QUEUE = 256


async def follow(call: Call, socket: WebSocket, source: Source) -> None:
    await send_while_there(socket, Follower(call, source).run)


async def send_while_there(socket: WebSocket, send: Callable[[WebSocket], Coroutine[Any, Any, None]]) -> None:
    """Accepts, and sends until that is done or whoever follows has left."""
    await socket.accept()
    listening = asyncio.create_task(_until_closed(socket))
    sending = asyncio.create_task(send(socket))
    try:
        await asyncio.wait((listening, sending), return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
            await socket.close(1000)
    finally:
        await end_all([listening, sending])


async def _until_closed(socket: WebSocket) -> None:
    """What a follower says does not matter; that it leaves does."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


class Follower:
    """A task for each replica feeds one bounded queue: a slow reader slows the reading and costs no memory."""

    def __init__(self, call: Call, source: Source) -> None:
        self.call = call
        self.source = source
        self.query: LogsQuery = call.query
        if self.query.previous:
            raise Invalid(
                "an instance that has ended writes no more", hint="leave out `previous`, or do not follow"
            )
        self.read = reading(call)
        self.queue: asyncio.Queue[LogEntry | None] = asyncio.Queue(_QUEUE)
        self.feeds: dict[str, asyncio.Task[None]] = {}
        self.failure: HivemindError | None = None

    async def run(self, socket: WebSocket) -> None:
        backend, tail, since = self.call.backend, tail_of(self.query), self.query.since
        start, marks = time.time_ns(), Marks()
        present = self.source.allocations()
        async for entry in history(self.read, present, tail, since, marks=marks):
            await socket.send_bytes(encode_line(entry))
        with self.call.streams.bell() as bell:
            undo = backend.store.subscribe("allocation/", lambda entries: bell.set())
            for allocation in present:
                mark = (start, 0) if tail == 0 else marks.get(allocation.id, (since, 0))
                self._join(bell, allocation, mark)
            gathering = asyncio.create_task(self._gather(bell))
            try:
                while (coming := await self.queue.get()) is not None:
                    await socket.send_bytes(encode_line(coming))
                if self.failure:
                    raise self.failure
            finally:
                undo()
                await end_all([gathering, *self.feeds.values()])

    async def _gather(self, bell: asyncio.Event) -> None:
        """Lets new replicas join; says the end once none can come and all have ended."""
        try:
            while not self.call.streams.closing:
                for allocation in self.source.allocations():
                    if allocation.id not in self.feeds:
                        self._join(bell, allocation, (0, 0))
                for feed in self.feeds.values():
                    if feed.done():
                        feed.result()
                if self.source.over and all(feed.done() for feed in self.feeds.values()):
                    break
                await rang(bell, self.call.settings.heartbeat)
            else:
                raise Unavailable("this node is stopping", hint="ask again once it is back")
        except HivemindError as error:
            self.failure = error
        await self.queue.put(None)

    def _join(self, bell: asyncio.Event, allocation: Allocation, mark: tuple[int, int]) -> None:
        feed = asyncio.create_task(self._feed(allocation, mark))
        feed.add_done_callback(lambda _: bell.set())
        self.feeds[allocation.id] = feed

    async def _feed(self, allocation: Allocation, mark: tuple[int, int]) -> None:
        """From the mark on, without the lines of that very moment that were sent already."""
        moment, sent = mark
        coming = self.read.entries(allocation, LogQuery(follow=True, since=moment))
        async for entry in coming:
            if entry.time == moment and sent:
                sent -= 1
            else:
                await self.queue.put(entry)


async def end_all(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
