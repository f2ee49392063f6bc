"""Running a command inside an allocation, over a WebSocket (frames: see `model.answers.ExecChannel`)."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.websockets import WebSocket

from hivemind.api.collection import home
from hivemind.api.endpoint import Answer, Call, Endpoint, reply
from hivemind.api.views import find
from hivemind.drivers.runtimes.contract import ExecSession, ExecSpec
from hivemind.errors import Conflict, HivemindError, Invalid, NotFound
from hivemind.model.allocation import ALLOCATION, Allocation
from hivemind.model.answers import AllocationStats, ExecChannel, ExecExit, ExecRequest, problem
from hivemind.model.base import encode
from hivemind.model.principal import Role

_STREAMS = {"stdout": bytes((ExecChannel.STDOUT,)), "stderr": bytes((ExecChannel.STDERR,))}


class Resize(msgspec.Struct, frozen=True, kw_only=True):
    columns: int
    rows: int


def inside_endpoints() -> list[Endpoint]:
    one = f"{home(ALLOCATION)}/{{name}}"
    return [
        Endpoint(
            "WEBSOCKET",
            f"{one}/exec",
            "allocations.exec",
            "Run a command inside. The first message is an ExecRequest as JSON; every later one is binary, its first "
            "byte a channel: 0 stdin, 1 stdout, 2 stderr, 3 resize as JSON {columns, rows}, 4 end of stdin, 5 the exit "
            "as JSON {code} or a problem.",
            _exec,
            errors=(NotFound, Conflict),
            role=Role.OPERATOR,
        ),
        Endpoint(
            "GET",
            f"{one}/stats",
            "allocations.stats",
            "What it uses of the machine right now.",
            _stats,
            (Answer(200, "A sample.", (AllocationStats,)),),
            errors=(NotFound, Conflict),
        ),
    ]


async def _stats(call: Call) -> Response:
    allocation: Allocation = await find(call.backend, "Allocation", call.project, call.params["name"])
    stats = await call.backend.stats(allocation.id)
    return reply(AllocationStats(allocation=allocation.id, **msgspec.structs.asdict(stats)))


async def _exec(call: Call, socket: WebSocket) -> None:
    allocation: Allocation = await find(call.backend, "Allocation", call.project, call.params["name"])
    await socket.accept()
    try:
        request = await _request(socket, call.settings.header_timeout)
        spec = ExecSpec(**msgspec.structs.asdict(request))
        session = await call.backend.exec(allocation.id, spec)
        try:
            code = await _converse(session, socket)
        finally:
            await session.close()
    except HivemindError as error:
        await _exit(socket, problem(error))
        return
    if code is not None:
        await _exit(socket, ExecExit(code=code))


async def _request(socket: WebSocket, timeout: float) -> ExecRequest:
    try:
        async with asyncio.timeout(timeout):
            message = await socket.receive()
    except TimeoutError:
        raise Invalid("no request came", hint="the first message says what to run") from None
    try:
        request = msgspec.json.decode(message.get("bytes") or message.get("text") or b"", type=ExecRequest)
    except msgspec.DecodeError as error:
        raise Invalid(
            f"the first message is no exec request: {error}", hint='send {"args": ["sh"]}'
        ) from None
    if not request.args or "\0" in "".join(request.args):
        raise Invalid("there is no command to run", hint='send {"args": ["sh"]}')
    if not (0 < request.columns < 65536 and 0 < request.rows < 65536):
        raise Invalid("a terminal has 1 to 65535 columns and rows")
    return request


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
        except msgspec.DecodeError as error:
            raise Invalid(f"that is no size of a terminal: {error}") from None
        except (BrokenPipeError, ConnectionResetError):
            pass  # the command does not read any more; it may still speak
