"""Answers that come piece by piece, some without an end: what wakes them, and what ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class Streamed(StreamingResponse):
    """Ends when everything is sent, or when the client has left. Starlette's own does so by anyio, whose engine is a
    megabyte that nothing else here needs."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.ensure_future(self.stream_response(send))
        listening = asyncio.ensure_future(self.listen_for_disconnect(receive))
        try:
            await asyncio.wait((sending, listening), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            for task in (sending, listening):
                task.cancel()
            await asyncio.gather(sending, listening, return_exceptions=True)


class Streams:
    """Every endless answer holds a bell. It rings for news, when somebody's role changed, and once more when the
    server stops."""

    def __init__(self) -> None:
        self.closing = False
        self._bells: set[asyncio.Event] = set()

    @contextmanager
    def bell(self) -> Iterator[asyncio.Event]:
        bell = asyncio.Event()
        self._bells.add(bell)
        if self.closing:
            bell.set()
        try:
            yield bell
        finally:
            self._bells.discard(bell)

    def close(self) -> None:
        self.closing = True
        self.ring()

    def ring(self) -> None:
        for bell in self._bells:
            bell.set()


async def rang(bell: asyncio.Event, timeout: float) -> bool:
    """Waits for the bell; False when nothing happened for `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            await bell.wait()
    except TimeoutError:
        return False
    bell.clear()
    return True
