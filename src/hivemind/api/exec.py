"""Running a command inside an allocation, or being attached to what it runs itself, over a WebSocket (frames: see
`model.answers.ExecChannel`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta
from starlette.responses import Response
from starlette.websockets import WebSocket

from hivemind.api.collection import home
from hivemind.api.endpoint import Answer, Call, Endpoint, reply
from hivemind.api.remote.expecting import expect_anywhere
from hivemind.api.remote.places import of_allocation
from hivemind.api.views import find
from hivemind.drivers.runtimes.contract import ExecSession, ExecSpec
from hivemind.errors import Conflict, HivemindError, Invalid, NotFound, Unavailable
from hivemind.model.allocation import ALLOCATION, Allocation
from hivemind.model.answers import (
    AllocationStats,
    AttachRequest,
    ExecChannel,
    ExecExit,
    ExecRequest,
    problem,
)
from hivemind.model.app import APP
from hivemind.model.base import UNREADABLE, Spec, encode
from hivemind.model.principal import Role

R = TypeVar("R", ExecRequest, AttachRequest)

_STREAMS = {"stdout": bytes((ExecChannel.STDOUT,)), "stderr": bytes((ExecChannel.STDERR,))}


class Resize(msgspec.Struct, frozen=True, kw_only=True):
    columns: int
    rows: int


class ContainerQuery(Spec, frozen=True, kw_only=True):
    container: Annotated[
        str, Meta(max_length=63, description="a companion's name; without it: the app's own container")
    ] = ""


_FRAMES = (
    "every later one is binary, its first byte a channel: 0 stdin, 1 stdout, 2 stderr, 3 resize as JSON "
    "{columns, rows}, 4 end of stdin, 5 the exit as JSON {code} or a problem."
)


def inside_endpoints() -> list[Endpoint]:
    one = f"{home(ALLOCATION)}/{{name}}"
    return [
        Endpoint(
            "WEBSOCKET",
            f"{one}/exec",
            "allocations.exec",
            f"Run a command inside. The first message is an ExecRequest as JSON; {_FRAMES}",
            _exec,
            query=ContainerQuery,
            errors=(NotFound, Conflict),
            role=Role.OPERATOR,
            at=of_allocation,
        ),
        Endpoint(
            "WEBSOCKET",
            f"{one}/attach",
            "allocations.attach",
            f"Be attached to its main process. The first message is an AttachRequest as JSON; {_FRAMES} "
            "Leaving does not end it.",
            _attach,
            query=ContainerQuery,
            errors=(NotFound, Conflict),
            role=Role.OPERATOR,
            at=of_allocation,
        ),
        Endpoint(
            "WEBSOCKET",
            f"{home(APP)}/{{name}}/attach",
            "apps.attach",
            "Be attached to the next container that the app starts, before it starts. The app need not exist yet. "
            "An empty message on channel 1 says that it is being waited for; all else as with an allocation.",
            _attach_next,
            errors=(NotFound, Conflict),
            role=Role.OPERATOR,
            gathers=True,
        ),
        Endpoint(
            "GET",
            f"{one}/stats",
            "allocations.stats",
            "What it uses of the machine right now.",
            _stats,
            (Answer(200, "A sample.", (AllocationStats,)),),
            query=ContainerQuery,
            errors=(NotFound, Conflict),
            at=of_allocation,
        ),
    ]


async def _stats(call: Call) -> Response:
    allocation: Allocation = await find(call.backend, "Allocation", call.project, call.params["name"])
    stats = await call.backend.stats(allocation.id, call.query.container)
    return reply(AllocationStats(allocation=allocation.id, **msgspec.structs.asdict(stats)))


async def _exec(call: Call, socket: WebSocket) -> None:
    allocation: Allocation = await find(call.backend, "Allocation", call.project, call.params["name"])
    await socket.accept()
    async with _told(socket):
        request = await _first(socket, ExecRequest, call.settings.header_timeout)
        if not request.args or "\0" in "".join(request.args):
            raise Invalid("there is no command to run", hint='send {"args": ["sh"]}')
        _check_size(request.columns, request.rows)
        spec = ExecSpec(**msgspec.structs.asdict(request))
        session = await call.backend.exec(allocation.id, spec, call.query.container)
        await _served(session, socket)


async def _attach(call: Call, socket: WebSocket) -> None:
    allocation: Allocation = await find(call.backend, "Allocation", call.project, call.params["name"])
    await socket.accept()
    async with _told(socket):
        size = await _first(socket, AttachRequest, call.settings.header_timeout)
        session = await call.backend.looking.attach(allocation.id, call.query.container)
        await _resized(session, size)
        await _served(session, socket)


async def _attach_next(call: Call, socket: WebSocket) -> None:
    await socket.accept()
    async with _told(socket):
        size = await _first(socket, AttachRequest, call.settings.header_timeout)
        async with expect_anywhere(call, call.params["name"]) as coming:
            await socket.send_bytes(_STREAMS["stdout"])
            if not await _came(call, coming, socket):
                return
            session = coming.result()
            if call.caller.through:
                await socket.send_bytes(_STREAMS["stdout"])  # the node that asks has to choose
        await _resized(session, size)
        await _served(session, socket)


async def _came(call: Call, coming: asyncio.Future[ExecSession], socket: WebSocket) -> bool:
    """False when the client left meanwhile. What it sends before anybody can read it is a mistake."""
    leaving = asyncio.create_task(socket.receive())
    with call.streams.bell() as bell:
        closing = asyncio.create_task(bell.wait())
        try:
            while not coming.done() and not leaving.done():
                await asyncio.wait((coming, leaving, closing), return_when=asyncio.FIRST_COMPLETED)
                if call.streams.closing or not call.admitted:
                    raise Unavailable("this node is stopping", hint="ask again once it is back")
                if closing.done():
                    bell.clear()
                    closing = asyncio.create_task(bell.wait())
            if coming.done():
                return True
            if leaving.result()["type"] != "websocket.disconnect":
                raise Invalid("there is nothing yet that could read this", hint="wait until it has started")
            return False
        finally:
            for task in (leaving, closing):
                task.cancel()
            await asyncio.gather(leaving, closing, return_exceptions=True)


async def _served(session: ExecSession, socket: WebSocket) -> None:
    try:
        code = await _converse(session, socket)
    finally:
        await session.close()
    if code is not None:
        await _exit(socket, ExecExit(code=code))


@asynccontextmanager
async def _told(socket: WebSocket) -> AsyncIterator[None]:
    """Errors become the last frame."""
    try:
        yield
    except HivemindError as error:
        await _exit(socket, problem(error))


async def _first(socket: WebSocket, type: type[R], timeout: float) -> R:
    try:
        async with asyncio.timeout(timeout):
            message = await socket.receive()
    except TimeoutError:
        raise Invalid("no request came", hint="the first message says what is wanted") from None
    try:
        return msgspec.json.decode(message.get("bytes") or message.get("text") or b"", type=type)
    except UNREADABLE as error:
        raise Invalid(
            f"the first message is no {type.__name__}: {error}",
            hint='send JSON, like {"args": ["sh"]} to exec',
        ) from None


def _check_size(columns: int, rows: int) -> None:
    if not (0 < columns < 65536 and 0 < rows < 65536):
        raise Invalid("a terminal has 1 to 65535 columns and rows")


async def _resized(session: ExecSession, size: AttachRequest) -> None:
    if size.columns or size.rows:
        _check_size(size.columns, size.rows)
        await session.resize(size.columns, size.rows)


async def _exit(socket: WebSocket, how: Any) -> None:
    await socket.send_bytes(bytes((ExecChannel.EXIT,)) + encode(how))
    await socket.close(1000)


async def _converse(session: ExecSession, socket: WebSocket) -> int | None:
    """Carries bytes both ways until the command ends; None when the client left before."""
    listening = asyncio.create_task(_listen(session, socket))
    speaking = asyncio.create_task(_speak(session, socket))
    try:
        await asyncio.wait((listening, speaking), return_when=asyncio.FIRST_COMPLETED)
        if not speaking.done():
            listening.result()  # raises what was wrong with the client's frames
            return None
        speaking.result()
        return await session.wait()
    finally:
        listening.cancel()
        speaking.cancel()
        await asyncio.gather(listening, speaking, return_exceptions=True)


async def _speak(session: ExecSession, socket: WebSocket) -> None:
    while (output := await session.read()) is not None:
        stream, data = output
        await socket.send_bytes(_STREAMS[stream] + data)


async def _listen(session: ExecSession, socket: WebSocket) -> None:
    """Ends when the client leaves."""
    while (message := await socket.receive())["type"] != "websocket.disconnect":
        frame: bytes = message.get("bytes") or (message.get("text") or "").encode()
        if not frame:
            continue
        channel, data = frame[0], frame[1:]
        try:
            if channel == ExecChannel.STDIN:
                await session.write(data)
            elif channel == ExecChannel.STDIN_END:
                await session.close_stdin()
            elif channel == ExecChannel.RESIZE:
                size = msgspec.json.decode(data, type=Resize)
                if 0 < size.columns < 65536 and 0 < size.rows < 65536:
                    await session.resize(size.columns, size.rows)
            else:
                raise Invalid(f"there is no channel {channel}", hint="0 stdin, 3 resize, 4 end of stdin")
        except UNREADABLE as error:
            raise Invalid(f"that is no size of a terminal: {error}") from None
        except (BrokenPipeError, ConnectionResetError):
            pass  # the command does not read any more; it may still speak
