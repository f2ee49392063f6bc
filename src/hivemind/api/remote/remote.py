"""The APIs of the other nodes of the hive, as this node reaches them, and its own, as they do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable
from typing import Protocol
from urllib.parse import unquote

from starlette.types import ASGIApp, Message

from hivemind.api.access import Caller, Peer
from hivemind.api.remote.wire import SERVICE, Event, Events, Opening, encode_opening, read_opening
from hivemind.errors import Forbidden, HivemindError, NotFound, Unauthenticated, Unavailable
from hivemind.model.answers import PROBLEM_FORMAT, problem
from hivemind.model.base import encode
from hivemind.security.delegation import Delegation, Delegations, delegate
from hivemind.security.identity import Identity
from hivemind.state.state import State
from hivemind.transport.contract import Stream

_OPEN = 5.0
"""Seconds that it may take to reach another node."""
_FIRST = 10.0
"""Seconds that whoever opened a stream may take to say what it wants."""
_LAST = 5.0
"""Seconds that the other side may take to hang up."""


class Links(Protocol):
    """What is needed of `transport.contract.Peers`."""

    def on_connection(self, callback: Callable[[str, bool], None]) -> Callable[[], None]: ...

    async def open(self, to: str, service: str, *, timeout: float) -> Stream: ...

    def accept(self, service: str, handler: Callable[[Stream], Awaitable[None]]) -> Callable[[], None]: ...


def _wall() -> int:
    return time.time_ns() // 1_000_000


class Remote:
    """`clock`: milliseconds since 1970."""

    def __init__(self, node: str, state: State, clock: Callable[[], int] = _wall) -> None:
        self.node = node
        self._state, self._clock = state, clock
        self._links: Links | None = None
        self._undo: list[Callable[[], None]] = []
        self._gone: dict[str, int] = {}
        """Nodes whose connection broke, and when, as long as there is no other one."""
        self._delegations = Delegations(node)
        self.application: ASGIApp | None = None
        """What answers here; None until there is one."""

    def connect(self, links: Links) -> None:
        """From now on this node is asked by others and asks them."""
        self.disconnect()
        self._links = links
        self._undo = [links.accept(SERVICE, self._serve), links.on_connection(self._noted)]

    def disconnect(self) -> None:
        for undo in self._undo:
            undo()
        self._links, self._undo = None, []
        self._gone.clear()

    def _noted(self, node: str, connected: bool) -> None:
        if connected:
            self._gone.pop(node, None)
        else:
            self._gone.setdefault(node, self._clock())

    # -- asking ----------------------------------------------------------------------------------------------

    async def ask(
        self, node: str, by: Identity, method: str, target: str, headers: list[tuple[bytes, bytes]]
    ) -> Exchange:
        """`target`: path and query, both quoted. Raises `Unavailable` that says who is not there and since when."""
        if self._links is None:
            raise self.unreachable(node)
        try:
            stream = await self._links.open(node, SERVICE, timeout=_OPEN)
        except (Unavailable, NotFound):
            raise self.unreachable(node) from None
        wish = Delegation(method, target, self.node, node, self._clock(), os.urandom(12).hex())
        exchange = Exchange(stream)
        try:
            opening = Opening(delegate(by, self._state.hive, wish), headers)
            await stream.send(encode_opening(opening))
        except BaseException:
            await exchange.close()
            raise
        return exchange

    def unreachable(self, node: str) -> Unavailable:
        since = self._since(node)
        when = f" since {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(since / 1000))} UTC" if since else ""
        return Unavailable(
            f"node {self.name(node)} cannot be reached from here{when}",
            hint="what runs there can only be looked at there; see: hivemind cluster status",
        )

    def name(self, node: str) -> str:
        record = self._state.nodes.get(node)
        return record.name if record else node[:12]

    def _since(self, node: str) -> int:
        record = self._state.nodes.get(node)
        known = [at for at in (self._gone.get(node, 0), record.lost if record else 0) if at]
        return min(known, default=0)

    # -- being asked -----------------------------------------------------------------------------------------

    async def _serve(self, stream: Stream) -> None:
        events = Events(stream, client=False)
        try:
            async with asyncio.timeout(_FIRST):
                first = await stream.receive()
        except TimeoutError:
            return
        if first is None:
            return
        opening = read_opening(first)
        try:
            wish = self._delegations.accept(
                opening.delegation, hive=self._state.hive, asker=stream.peer, now=self._clock()
            )
            caller = self._caller(opening.delegation.signer, stream.peer)
            if self.application is None:
                raise Unavailable(f"node {self.name(self.node)} is starting", hint="ask again in a moment")
        except HivemindError as error:
            await _refuse(error, events)
        else:
            await self.application(
                _scope(wish, opening.headers, caller), _receiving(events, wish), events.send
            )
        with contextlib.suppress(TimeoutError, Unavailable):
            async with asyncio.timeout(_LAST):
                await stream.finish()
                while await stream.receive() is not None:
                    pass

    def _caller(self, signer: str, through: str) -> Caller:
        """What this node itself knows of who asks."""
        principal = self._state.principals.get(signer)
        if principal is None:
            raise Unauthenticated(
                f"node {self.name(self.node)} does not know whoever asks through node {self.name(through)}",
                hint="root on a worker does not administer the hive: give a token with --token or HIVEMIND_TOKEN",
            )
        if principal.kind != "person":
            raise Forbidden("only people look into what other nodes run", hint="use the token of a person")
        return Caller(None, principal.role, principal.name, public=signer, through=through)


class Exchange:
    """A request that another node answers, from the side of the client: events of ASGI."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._events = Events(stream, client=True)
        self._over = False

    async def send(self, event: Event) -> None:
        await self._events.send(event)

    async def receive(self) -> Event | None:
        """None: the other node has said all."""
        event = await self._events.receive()
        self._over = event is None
        return event

    async def close(self) -> None:
        """Ends it for both sides, unless the other node has said all."""
        if self._over:
            with contextlib.suppress(Unavailable):
                await self._stream.finish()
        await self._stream.close()


def _scope(wish: Delegation, headers: list[tuple[bytes, bytes]], caller: Caller) -> dict[str, object]:
    path, _, query = wish.target.partition("?")
    kind = "websocket" if wish.method == "WEBSOCKET" else "http"
    return {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": wish.method,
        "scheme": "ws" if kind == "websocket" else "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"hive"), *((bytes(name), bytes(value)) for name, value in headers)],
        "client": None,
        "server": None,
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
        "state": {"peer": Peer(unix=False), "caller": caller},
    }


def _receiving(events: Events, wish: Delegation) -> Callable[[], Awaitable[Message]]:
    """Whoever asks is gone when its stream is."""
    socket = wish.method == "WEBSOCKET"
    gone: Message = {"type": "websocket.disconnect", "code": 1006} if socket else {"type": "http.disconnect"}
    left = False

    async def receive() -> Message:
        nonlocal left
        event = None
        if not left:
            with contextlib.suppress(HivemindError):
                event = await events.receive()
        left = event is None
        return gone if event is None else event

    return receive


async def _refuse(error: HivemindError, events: Events) -> None:
    """Told as the application tells it; who asked knows which of the two it wants."""
    body = encode(problem(error))
    headers = [(b"content-type", PROBLEM_FORMAT.encode()), (b"content-length", str(len(body)).encode())]
    await events.send({"type": "http.response.start", "status": error.status, "headers": headers})
    await events.send({"type": "http.response.body", "body": body, "more_body": False})
