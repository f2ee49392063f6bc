"""`Stream` in memory: both of its ends are in one event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from hivemind.errors import HivemindError, Unavailable
from hivemind.transport.stream import measured

_WINDOW = 64
"""Messages that wait to be received before the sender waits."""


class FakeStream:
    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.binding = b""
        self.over = False
        self.other: FakeStream
        self._inbox: deque[bytes] = deque()
        self._finished = self._broken = False
        self._changed = asyncio.Event()

    async def send(self, message: bytes) -> None:
        measured(message)
        if self._finished:
            raise Unavailable("this side of the stream has finished")
        while not self._broken and len(self.other._inbox) >= _WINDOW:
            self._changed.clear()
            await self._changed.wait()
        if self._broken:
            raise broken()
        self.other._inbox.append(message)
        self.other._changed.set()

    async def receive(self) -> bytes | None:
        while not self._inbox and not self.other._finished and not self._broken:
            self._changed.clear()
            await self._changed.wait()
        if self._broken:
            raise broken()
        if not self._inbox:
            return None
        message = self._inbox.popleft()
        self.other._changed.set()
        return message

    async def finish(self) -> None:
        if self._broken:
            raise broken()
        self._finished = True
        self.other._changed.set()

    async def close(self) -> None:
        if not (self._finished and self.other._finished):
            self.break_off()
            self.other.break_off()
        self.over = True

    def break_off(self) -> None:
        self._broken = self.over = True
        self._changed.set()


def streams(node: str, other: str) -> tuple[FakeStream, FakeStream]:
    """The end of each of the two."""
    mine, theirs = FakeStream(other), FakeStream(node)
    mine.other, theirs.other = theirs, mine
    return mine, theirs


async def serve(handler: Callable[[FakeStream], Awaitable[None]], stream: FakeStream) -> None:
    """Whatever is no error of ours is the test's to see: the loop tells of it."""
    try:
        await handler(stream)
    except HivemindError:
        pass
    finally:
        await stream.close()


def broken() -> Unavailable:
    return Unavailable("the connection broke", hint="try again")
