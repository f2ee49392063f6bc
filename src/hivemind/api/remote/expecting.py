"""Being attached to the next container of an app, on whichever node that starts.

Every node that works is asked to expect it; the first that has it is talked to, the others are told to forget it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal
from urllib.parse import quote

import msgspec

from hivemind.api.endpoint import Call
from hivemind.api.remote.bridge import refused
from hivemind.api.remote.remote import Exchange
from hivemind.drivers.runtimes.contract import ExecSession
from hivemind.errors import HivemindError, Unavailable
from hivemind.model.answers import AttachRequest, ExecChannel, ExecExit, Problem
from hivemind.model.base import encode

_READY = 5.0
"""Seconds that another node may take to say that it expects it."""
_STREAMS: dict[int, Literal["stdout", "stderr"]] = {
    ExecChannel.STDOUT: "stdout",
    ExecChannel.STDERR: "stderr",
}
Coming = asyncio.Future[ExecSession]


@asynccontextmanager
async def expect_anywhere(call: Call, app: str) -> AsyncIterator[Coming]:
    """Inside, it is expected wherever it may start, but on nodes that cannot be asked."""
    project = call.project or ""
    with call.backend.looking.expect(project, app) as here:
        if call.caller.through:
            yield here
            return
        target = f"/v1/projects/{quote(project, safe='')}/apps/{quote(app, safe='')}/attach"
        others = [n.id for n in call.state.nodes.values() if n.usable and n.id != call.backend.remote.node]
        sessions = [s for s in await asyncio.gather(*(_ready(call, n, target) for n in sorted(others))) if s]
        coming: Coming = asyncio.get_running_loop().create_future()
        waiting = [asyncio.ensure_future(_wait(session, coming)) for session in sessions]
        here.add_done_callback(lambda done: _pass_on(done, coming))
        try:
            yield coming
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            chosen = coming.result() if _has_come(coming) else None
            for session in sessions:
                if session is not chosen:
                    await session.close()
            coming.cancel()


def _has_come(coming: Coming) -> bool:
    return coming.done() and not coming.cancelled() and coming.exception() is None


def _pass_on(done: Coming, coming: Coming) -> None:
    if done.cancelled() or coming.done():
        return
    if error := done.exception():
        coming.set_exception(error)
    else:
        coming.set_result(done.result())


async def _ready(call: Call, node: str, target: str) -> FarSession | None:
    try:
        async with asyncio.timeout(_READY):
            exchange = await call.backend.remote.ask(node, call.identity, "WEBSOCKET", target, [])
            session = FarSession(exchange)
            try:
                await session.begin()
            except BaseException:
                await session.close()
                raise
    except (Unavailable, TimeoutError):
        return None
    return session


async def _wait(session: FarSession, coming: Coming) -> None:
    """A node that goes away meanwhile will not start it."""
    try:
        await session.came()
    except Unavailable:
        return
    except HivemindError as error:
        if not coming.done():
            coming.set_exception(error)
        return
    if not coming.done():
        coming.set_result(session)


class FarSession:
    """Keeps `drivers.runtimes.contract.ExecSession`, for a process of another node."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._code: int | None = None

    async def begin(self) -> None:
        """Returns once the other node expects it."""
        await self._exchange.send({"type": "websocket.connect"})
        first = await self._exchange.receive()
        if first is None or first["type"] != "websocket.accept":
            raise await refused(self._exchange, first or {})
        await self._exchange.send({"type": "websocket.receive", "text": encode(AttachRequest()).decode()})
        await self._frame()

    async def came(self) -> None:
        await self._frame()

    async def _frame(self) -> tuple[int, bytes]:
        """Channel and data. Raises the error that the other node ends with, `Unavailable` when it ends otherwise."""
        while (event := await self._exchange.receive()) is not None:
            if event["type"] == "websocket.close":
                break
            frame: bytes = event.get("bytes") or b""
            if not frame:
                continue
            if frame[0] == ExecChannel.EXIT:
                self._code = _exit_code(frame[1:])
            return frame[0], frame[1:]
        raise Unavailable("the other node broke off", hint="its log may say more")

    async def read(self) -> tuple[Literal["stdout", "stderr"], bytes] | None:
        while self._code is None:
            channel, data = await self._frame()
            if channel in _STREAMS and data:
                return _STREAMS[channel], data
        return None

    async def write(self, data: bytes) -> None:
        await self._say(ExecChannel.STDIN, data)

    async def close_stdin(self) -> None:
        await self._say(ExecChannel.STDIN_END)

    async def resize(self, columns: int, rows: int) -> None:
        await self._say(ExecChannel.RESIZE, msgspec.json.encode({"columns": columns, "rows": rows}))

    async def _say(self, channel: int, data: bytes = b"") -> None:
        await self._exchange.send({"type": "websocket.receive", "bytes": bytes((channel,)) + data})

    async def wait(self) -> int:
        while self._code is None:
            await self._frame()
        return self._code

    async def close(self) -> None:
        with suppress(Unavailable):
            await self._exchange.send({"type": "websocket.disconnect", "code": 1000})
        await self._exchange.close()


def _exit_code(data: bytes) -> int:
    """Raises the error that it is instead."""
    try:
        return msgspec.json.decode(data, type=ExecExit).code
    except (msgspec.MsgspecError, ValueError):
        raise msgspec.json.decode(data, type=Problem).error() from None
