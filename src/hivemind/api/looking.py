"""Looking at one allocation from outside: its processes, its changed files, files out and in, a port of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Annotated
from urllib.parse import urlencode

import msgspec
from msgspec import Meta
from starlette.responses import Response
from starlette.websockets import WebSocket

from hivemind.api.collection import home
from hivemind.api.endpoint import Answer, Call, Endpoint, reply
from hivemind.api.exec import ContainerQuery
from hivemind.api.intake import upload
from hivemind.api.remote.others import Others
from hivemind.api.remote.places import of_allocation
from hivemind.api.streams import Streamed
from hivemind.api.tars import TAR, TARS, check_tar
from hivemind.api.views import find
from hivemind.errors import Conflict, HivemindError, Invalid, NotFound, TooLarge, Unsupported, WrongMedia
from hivemind.model.allocation import ALLOCATION, Allocation
from hivemind.model.answers import (
    AllocationStats,
    ChangeEntry,
    ChangeList,
    ExecChannel,
    ProcessEntry,
    ProcessList,
    StatsList,
    problem,
)
from hivemind.model.base import Spec, encode
from hivemind.model.principal import Role

_BLOCK = 1 << 16
_DATA, _END = bytes((ExecChannel.STDOUT,)), bytes((ExecChannel.STDOUT_END,))


class FilesQuery(ContainerQuery, frozen=True, kw_only=True):
    path: Annotated[
        str,
        Meta(min_length=1, max_length=4096, pattern="^/", description="absolute, in the container"),
    ]


class PortQuery(Spec, frozen=True, kw_only=True):
    port: Annotated[int, Meta(ge=1, le=65535)]


class StatsQuery(Spec, frozen=True, kw_only=True):
    project: Annotated[str, Meta(max_length=63)] = ""
    app: Annotated[str, Meta(max_length=63)] = ""


def looking_endpoints() -> list[Endpoint]:
    one = f"{home(ALLOCATION)}/{{name}}"
    return [
        Endpoint(
            "GET",
            f"{one}/processes",
            "allocations.processes",
            "The processes inside.",
            _processes,
            (Answer(200, "By pid.", (ProcessList,)),),
            query=ContainerQuery,
            errors=(NotFound, Conflict, Unsupported),
            at=of_allocation,
        ),
        Endpoint(
            "GET",
            f"{one}/changes",
            "allocations.changes",
            "How its files differ from its image.",
            _changes,
            (Answer(200, "By path.", (ChangeList,)),),
            query=ContainerQuery,
            errors=(NotFound, Conflict, Unsupported),
            at=of_allocation,
        ),
        Endpoint(
            "GET",
            f"{one}/files",
            "allocations.read_files",
            "A file, directory or link as a tar whose first name is the last part of the path.",
            _read,
            (Answer(200, "The archive.", (), TAR),),
            query=FilesQuery,
            errors=(NotFound, Conflict, Unsupported),
            role=Role.OPERATOR,
            at=of_allocation,
        ),
        Endpoint(
            "PUT",
            f"{one}/files",
            "allocations.write_files",
            "Unpack a tar into a directory that is there.",
            _write,
            (Answer(204, "It is unpacked."),),
            query=FilesQuery,
            upload=TARS,
            errors=(NotFound, Conflict, TooLarge, WrongMedia, Unsupported),
            role=Role.OPERATOR,
            at=of_allocation,
        ),
        Endpoint(
            "WEBSOCKET",
            f"{one}/forward",
            "allocations.forward",
            "One connection to a port of it. Messages are binary, their first byte a channel: 0 to it, 1 from it, "
            "4 and 6 the end of each, 5 a problem.",
            _forward,
            query=PortQuery,
            errors=(NotFound, Conflict),
            role=Role.OPERATOR,
            at=of_allocation,
        ),
        Endpoint(
            "GET",
            "/v1/stats",
            "stats.list",
            "What everything that runs uses right now, in one answer.",
            _stats,
            (Answer(200, "A sample of each.", (StatsList,)),),
            query=StatsQuery,
            gathers=True,
        ),
    ]


async def _allocation(call: Call) -> Allocation:
    found: Allocation = await find(call.backend, "Allocation", call.project, call.params["name"])
    return found


async def _processes(call: Call) -> Response:
    found = await call.backend.looking.processes((await _allocation(call)).id, call.query.container)
    return reply(ProcessList(items=[ProcessEntry(**msgspec.structs.asdict(each)) for each in found]))


async def _changes(call: Call) -> Response:
    found = await call.backend.looking.changes((await _allocation(call)).id, call.query.container)
    return reply(ChangeList(items=[ChangeEntry(kind=each.kind, path=each.path) for each in found]))


async def _read(call: Call) -> Response:
    query: FilesQuery = call.query
    pieces = call.backend.looking.read_files((await _allocation(call)).id, query.path, query.container)
    first = await anext(pieces, b"")  # what goes wrong at once is still told by the status
    return Streamed(_joined(first, pieces), media_type=TAR)


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        yield first
        async for piece in rest:
            yield piece
    finally:
        if (close := getattr(rest, "aclose", None)) is not None:
            await close()


async def _write(call: Call) -> Response:
    query: FilesQuery = call.query
    check_tar(call)
    allocation = await _allocation(call)
    async with aclosing(upload(call.request, call.settings, call.settings.max_upload)) as pieces:
        await call.backend.looking.write_files(allocation.id, query.path, pieces, query.container)
    return Response(status_code=204)


async def _stats(call: Call) -> Response:
    query: StatsQuery = call.query
    items = []
    for (id, container), stats in (await call.backend.looking.stats()).items():
        allocation = call.state.allocations.get(id)
        if allocation is None:
            continue
        if query.project in ("", allocation.project) and query.app in ("", allocation.app_name):
            items.append(AllocationStats(allocation=id, container=container, **msgspec.structs.asdict(stats)))
    others = Others(call)
    nodes = {
        a.node
        for a in call.state.allocations.values()
        if a.live and query.project in ("", a.project) and query.app in ("", a.app_name)
    }
    target = f"/v1/stats?{urlencode({'project': query.project, 'app': query.app})}"
    for found in await others.ask(sorted(nodes), target, StatsList):
        items += found.items
    return reply(StatsList(items=items, unreached=others.missing))


async def _forward(call: Call, socket: WebSocket) -> None:
    allocation = await _allocation(call)
    await socket.accept()
    try:
        reader, writer = await call.backend.looking.connect(allocation.id, call.query.port)
    except HivemindError as error:
        await socket.send_bytes(bytes((ExecChannel.EXIT,)) + encode(problem(error)))
        await socket.close(1000)
        return
    spoken = asyncio.Event()
    outward = asyncio.create_task(_outward(reader, socket))
    inward = asyncio.create_task(_inward(socket, writer, spoken))
    both = asyncio.create_task(_ended(outward, spoken))
    try:
        await asyncio.wait((both, inward), return_when=asyncio.FIRST_COMPLETED)
        if not inward.done():
            both.result()
            await socket.close(1000)
        else:
            inward.result()
    finally:
        for task in (outward, inward, both):
            task.cancel()
        await asyncio.gather(outward, inward, both, return_exceptions=True)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _ended(outward: asyncio.Task[None], spoken: asyncio.Event) -> None:
    """Neither side has any more to say."""
    await outward
    await spoken.wait()


async def _outward(reader: asyncio.StreamReader, socket: WebSocket) -> None:
    with suppress(OSError):
        while data := await reader.read(_BLOCK):
            await socket.send_bytes(_DATA + data)
    await socket.send_bytes(_END)


async def _inward(socket: WebSocket, writer: asyncio.StreamWriter, spoken: asyncio.Event) -> None:
    """Until the client leaves."""
    while (message := await socket.receive())["type"] != "websocket.disconnect":
        frame: bytes = message.get("bytes") or (message.get("text") or "").encode()
        channel = frame[0] if frame else -1
        with suppress(OSError):  # what it does not read any more is dropped; it may still speak
            if channel == ExecChannel.STDIN_END:
                spoken.set()
                writer.write_eof()
            elif channel == ExecChannel.STDIN:
                writer.write(frame[1:])
                await writer.drain()
            else:
                raise Invalid(f"there is no channel {channel}", hint="0 data, 4 end of it")
