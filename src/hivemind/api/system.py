"""The node about itself: status, health, metrics, and the description of this very API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

import msgspec
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from hivemind.api.endpoint import JSON, Answer, Call, Endpoint, reply
from hivemind.errors import Unavailable
from hivemind.model.answers import Info

Handler = Callable[[Call], Awaitable[Response]]


class Health(msgspec.Struct, frozen=True):
    status: str = "ok"


def system_endpoints() -> list[Endpoint]:
    return [
        _open("/healthz", "healthz", "The daemon lives.", _alive, Health),
        _open("/readyz", "readyz", "The node can work.", _ready, Health),
        _open("/metrics", "metrics", "Metrics, in Prometheus' text format.", _metrics, str, "text/plain"),
        _open("/openapi.json", "openapi", "This description, as OpenAPI 3.1.", _openapi, dict),
        _open("/docs", "docs", "This description, for people.", _docs, str, "text/html"),
        Endpoint(
            "GET",
            "/v1/status",
            "system.status",
            "What this node is and how it is.",
            _status,
            (Answer(200, "The node.", (Info,)),),
        ),
    ]


def _open(path: str, name: str, text: str, handler: Handler, type: Any, media: str = JSON) -> Endpoint:
    """What anyone may read, without a token."""
    return Endpoint(
        "GET", path, f"system.{name}", text, handler, (Answer(200, text, (type,), media),), open=True
    )


async def _status(call: Call) -> Response:
    return reply(call.backend.info())


async def _alive(call: Call) -> Response:
    return reply(Health())


async def _ready(call: Call) -> Response:
    if call.streams.closing or not call.backend.ready():
        problems = "; ".join(call.backend.info().problems)
        raise Unavailable(
            problems or "this node is not ready yet", hint="hivemind doctor says what is missing"
        )
    return reply(Health())


async def _metrics(call: Call) -> Response:
    return PlainTextResponse(call.backend.metrics(), media_type="text/plain; version=0.0.4")


async def _openapi(call: Call) -> Response:
    from hivemind.api.openapi import describe

    return Response(
        msgspec.json.encode(describe(call.table, call.backend.info().version)), media_type="application/json"
    )


async def _docs(call: Call) -> Response:
    page = files("hivemind.api").joinpath("docs.html").read_text("utf-8")
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
    return HTMLResponse(page, headers={"Content-Security-Policy": policy})
