"""A request that another node answers, passed on as it comes: HTTP, streams without an end, and WebSockets."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import msgspec
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from hivemind.api.endpoint import Call, Endpoint, Place, refusal
from hivemind.api.remote.remote import Exchange
from hivemind.api.remote.wire import Event
from hivemind.errors import HivemindError, Unavailable
from hivemind.model.answers import Problem
from hivemind.model.base import decode

_ABOUT_THE_BODY = ("accept", "content-length", "content-type")


async def elsewhere(call: Call, endpoint: Endpoint) -> Place | None:
    """None: this node answers. Who asks through another node gets the answer of this one in any case."""
    if endpoint.at is None or call.caller.through:
        return None
    place = await endpoint.at(call)
    return None if place is None or place.node == call.backend.remote.node else place


def target_of(endpoint: Endpoint, params: Mapping[str, str], query: str) -> str:
    """Path and query, quoted."""

    def filled(match: re.Match[str]) -> str:
        return quote(params[match[1]], safe="/" if match[2] else "")

    path = re.sub(r"\{(\w+)(:path)?\}", filled, endpoint.path)
    return f"{path}?{query}" if query else path


async def open_exchange(call: Call, endpoint: Endpoint, place: Place, method: str) -> Exchange:
    """Raises `Unavailable` when that node cannot be reached."""
    connection = call.connection
    target = target_of(endpoint, place.params, connection.url.query)
    headers = [
        (name.encode(), connection.headers[name].encode("latin-1"))
        for name in _ABOUT_THE_BODY
        if name in connection.headers
    ]
    return await call.backend.remote.ask(place.node, call.identity, method, target, headers)


async def bridged(call: Call, endpoint: Endpoint, place: Place) -> Bridged:
    return Bridged(await open_exchange(call, endpoint, place, call.request.method), call, place)


class Bridged:
    """An answer that comes from another node."""

    def __init__(self, exchange: Exchange, call: Call, place: Place) -> None:
        self._exchange, self._call, self._place = exchange, call, place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises `Unavailable` when that node goes away in the middle."""
        begun = False

        async def passed_on(event: Event) -> None:
            nonlocal begun
            begun = True
            await send(event)

        try:
            await _between(self._exchange, receive, passed_on)
        except HivemindError as error:
            if begun:
                raise
            lost = self._call.backend.remote.unreachable(self._place.node)
            await refusal(lost if isinstance(error, Unavailable) else error)(scope, receive, send)


def over_socket(endpoint: Endpoint, place: Place) -> Callable[[Call, WebSocket], Awaitable[None]]:
    """As the handler of that endpoint."""

    async def talk(call: Call, socket: WebSocket) -> None:
        exchange = await open_exchange(call, endpoint, place, "WEBSOCKET")

        async def passed_on(event: Event) -> None:
            if event["type"].startswith("http."):
                raise await refused(exchange, event)
            await socket.send(event)

        async def receive() -> Event:
            return dict(await socket.receive())

        await _between(exchange, receive, passed_on)

    return talk


async def _between(
    exchange: Exchange, receive: Callable[[], Awaitable[Any]], send: Callable[[Event], Awaitable[None]]
) -> None:
    """Until the other node has said all. That the client leaves it hears, too, and ends."""
    inward = asyncio.ensure_future(_inward(exchange, receive))
    try:
        complete = False
        while (event := await exchange.receive()) is not None:
            await send(event)
            complete = _is_last(event)
        if not complete and not inward.done():
            raise Unavailable("the other node broke off", hint="its log may say more")
    finally:
        inward.cancel()
        await asyncio.gather(inward, return_exceptions=True)
        await exchange.close()


async def _inward(exchange: Exchange, receive: Callable[[], Awaitable[Any]]) -> None:
    """Ends when the client has left."""
    with suppress(Unavailable):  # whoever reads from the exchange hears of it
        while True:
            event = dict(await receive())
            await exchange.send(event)
            if event["type"].endswith(".disconnect"):
                return


def _is_last(event: Event) -> bool:
    if event["type"] in ("http.response.body", "websocket.http.response.body"):
        return not event.get("more_body", False)
    return bool(event["type"] == "websocket.close")


async def refused(exchange: Exchange, start: Event) -> HivemindError:
    """The error that the other node answers with instead of what was wanted; `start`: the head of its answer."""
    body, limit = b"", 2**16
    while len(body) < limit and (event := await exchange.receive()) is not None:
        body += event.get("body", b"")
    try:
        return decode(body, Problem).error()
    except (msgspec.MsgspecError, ValueError):
        return Unavailable(f"the other node answered {start.get('status')}", hint="its log may say more")
