"""The ASGI application: finds the endpoint, checks the request, and turns every error into a problem document."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import dataclass, replace

from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from hivemind.api.access import ANYONE, SIGN_IN, Caller, caller, check_host
from hivemind.api.backend import Backend
from hivemind.api.distribution import Distribution
from hivemind.api.endpoint import Call, Endpoint, refusal
from hivemind.api.intake import body_of, query_of
from hivemind.api.remote.bridge import bridged, elsewhere, over_socket
from hivemind.api.settings import ApiSettings
from hivemind.api.streams import Streams, rang
from hivemind.api.table import endpoints
from hivemind.errors import (
    Forbidden,
    HivemindError,
    Invalid,
    NotFound,
    Unavailable,
    WrongMethod,
)

log = logging.getLogger("hivemind.api")


class Application:
    """Everything the API answers, for one node."""

    def __init__(self, backend: Backend, settings: ApiSettings) -> None:
        self.streams = Streams()
        self._active = 0
        self._limit = settings.max_connections
        table = endpoints()
        here = _Node(backend, settings, self.streams, table)
        by_path: dict[str, dict[str, Endpoint]] = {}
        for endpoint in table:
            by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint
        sockets = [
            WebSocketRoute(p, _OverSocket(here, m["WEBSOCKET"]))
            for p, m in by_path.items()
            if "WEBSOCKET" in m
        ]
        plain = [Route(p, _OverHttp(here, m), include_in_schema=False) for p, m in by_path.items()]
        registry = Distribution(backend, settings)
        images = [Route("/v2", registry), Route("/v2/{path:path}", registry)]
        backend.remote.application = self
        self._router = Router([*sockets, *plain, *images], redirect_slashes=False, default=_nowhere)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._active >= self._limit:
            busy = Unavailable(
                "this node is answering as many requests as it can", hint="ask again in a moment"
            )
            await _refuse(busy, scope, receive, send)
            return
        self._active += 1
        try:
            await self._router(scope, receive, send)
        finally:
            self._active -= 1


@dataclass(frozen=True)
class _Node:
    backend: Backend
    settings: ApiSettings
    streams: Streams
    table: tuple[Endpoint, ...]

    def call(self, endpoint: Endpoint, connection: HTTPConnection) -> Call:
        return Call(
            backend=self.backend,
            settings=self.settings,
            streams=self.streams,
            role=endpoint.role,
            caller=self.admit(endpoint, connection),
            connection=connection,
            params=connection.path_params,
            query=query_of(connection, endpoint.query),
            table=self.table,
        )

    def admit(self, endpoint: Endpoint, connection: HTTPConnection) -> Caller:
        check_host(connection)
        if endpoint.open:
            return ANYONE
        who = caller(self.backend, connection)
        if who.through and not (endpoint.at or endpoint.gathers):
            raise Forbidden("any node can answer that itself", hint="ask the node that you are connected to")
        who.require(endpoint.role)
        return who


class _OverHttp:
    """One path, its methods."""

    def __init__(self, node: _Node, methods: dict[str, Endpoint]) -> None:
        self.node = node
        self.methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        response: ASGIApp
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            return
        except HivemindError as error:
            response = refusal(error)
        except Exception:
            log.exception("%s %s failed", request.method, request.url.path)
            response = refusal(_defect())
        try:
            await response(scope, receive, send)
        except HivemindError as error:
            # Too late for a status: the answer is cut off, which every client of HTTP/1.1 notices.
            log.warning("%s %s broke off: %s", request.method, request.url.path, error.message)
        except Exception:
            log.exception("%s %s broke off", request.method, request.url.path)

    async def _answer(self, request: Request) -> ASGIApp:
        method = "GET" if request.method == "HEAD" else request.method
        endpoint = self.methods.get(method)
        if endpoint is None:
            check_host(request)
            return self._wrong_method(request.method)
        call = self.node.call(endpoint, request)
        if (place := await elsewhere(call, endpoint)) is not None:
            return await bridged(call, endpoint, place)
        if endpoint.body is not None:
            call = replace(call, body=await body_of(request, endpoint.body, self.node.settings))
        response: Response = await endpoint.handler(call)
        if request.method == "HEAD" and isinstance(response, StreamingResponse):
            return Response(
                status_code=response.status_code, media_type=response.media_type
            )  # it may have no end
        return response

    def _wrong_method(self, method: str) -> Response:
        allowed = sorted(m for m in self.methods if m != "WEBSOCKET")
        if not allowed and method in ("GET", "HEAD"):
            return refusal(
                Invalid(
                    "this address speaks WebSocket only",
                    hint="connect with a WebSocket client, or: hivemind exec",
                )
            )
        response = refusal(
            WrongMethod(f"{method} is not possible here", hint=f"possible: {', '.join(allowed) or 'GET'}")
        )
        response.headers["Allow"] = ", ".join([*allowed, "HEAD"] if "GET" in allowed else allowed)
        return response


class _OverSocket:
    """One path that speaks WebSocket. Before the handshake errors are HTTP answers, afterwards a close frame."""

    def __init__(self, node: _Node, endpoint: Endpoint) -> None:
        self.node = node
        self.endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = WebSocket(scope, receive, send)
        try:
            call = self.node.call(self.endpoint, socket)
            place = await elsewhere(call, self.endpoint)
            talk = self.endpoint.handler if place is None else over_socket(self.endpoint, place)
            await _while_admitted(call, talk(call, socket))
        except WebSocketDisconnect:
            return
        except HivemindError as error:
            await _hang_up(socket, error)
        except Exception:
            log.exception("WebSocket %s failed", socket.url.path)
            await _hang_up(socket, _defect())


async def _while_admitted(call: Call, talk: Awaitable[None]) -> None:
    """Ends the talk when its caller's token is revoked or may no longer do so much."""
    talking = asyncio.ensure_future(talk)
    watching = asyncio.create_task(_until_dismissed(call))
    try:
        await asyncio.wait((talking, watching), return_when=asyncio.FIRST_COMPLETED)
        if not talking.done():
            raise Forbidden("your token was revoked, or may not do this any more", hint=SIGN_IN)
        talking.result()
    finally:
        for task in (talking, watching):
            task.cancel()
        await asyncio.gather(talking, watching, return_exceptions=True)


async def _until_dismissed(call: Call) -> None:
    with call.streams.bell() as bell:
        while call.admitted:
            await rang(bell, call.settings.heartbeat)


async def _hang_up(socket: WebSocket, error: HivemindError) -> None:
    try:
        if socket.application_state.name == "CONNECTING":
            await socket.send_denial_response(refusal(error))
        elif socket.application_state.name == "CONNECTED":
            code = 1012 if isinstance(error, Unavailable) else 1008 if isinstance(error, Forbidden) else 1011
            await socket.close(code, error.message.encode()[:120].decode(errors="ignore"))
    except (WebSocketDisconnect, RuntimeError, OSError):
        pass  # the client is gone: nobody is left to tell


def _defect() -> HivemindError:
    return HivemindError(
        "this is a defect in Hivemind", hint="the daemon's log has the details; please report it"
    )


async def _refuse(error: HivemindError, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(refusal(error))
    else:
        await refusal(error)(scope, receive, send)


async def _nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    error = NotFound(
        f"there is nothing at {scope['path'][:200]}", hint="/openapi.json and /docs list what there is"
    )
    await _refuse(error, scope, receive, send)
