"""What comes in, read once and strictly: query parameters, JSON bodies, streamed uploads, versions to match."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect
from starlette.requests import HTTPConnection, Request

from hivemind.api.settings import ApiSettings
from hivemind.errors import Invalid, Stale, TooLarge, WrongMedia
from hivemind.model import quantity


def query_of(connection: HTTPConnection, type: type[msgspec.Struct]) -> Any:
    """The query string as a `type`. Raises `Invalid` for unknown, repeated and malformed parameters."""
    single, many = _parameters(type)
    raw: dict[str, Any] = {}
    for key, value in connection.query_params.multi_items():
        if key in many:
            raw.setdefault(key, []).append(value)
        elif key not in single:
            known = ", ".join(sorted(single | many)) or "none"
            raise Invalid(f"there is no query parameter {key[:100]!r} here", hint=f"there are: {known}")
        elif key in raw:
            raise Invalid(f"the query parameter {key!r} is given twice")
        else:
            raw[key] = value
    try:
        return msgspec.convert(raw, type, strict=False)
    except msgspec.ValidationError as error:
        message = re.sub(r" - at `\$\.(\w+).*`", r" (query parameter '\1')", str(error))
        raise Invalid(message.replace("`", "'")) from None


@cache
def _parameters(type: type[msgspec.Struct]) -> tuple[frozenset[str], frozenset[str]]:
    info = inspect.type_info(type)
    assert isinstance(info, inspect.StructType)
    many = frozenset(f.encode_name for f in info.fields if isinstance(f.type, inspect.VarTupleType))
    return frozenset(f.encode_name for f in info.fields) - many, many


async def body_of(request: Request, type: type[msgspec.Struct], settings: ApiSettings) -> Any:
    """The JSON body as a `type`, written amounts such as `512MiB` understood."""
    return quantity.read(await json_of(request, settings), type)


async def json_of(request: Request, settings: ApiSettings) -> Any:
    """The JSON body as plain values."""
    media = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media != "application/json" and not (media.startswith("application/") and media.endswith("+json")):
        raise WrongMedia(
            f"a body of type {media[:100]!r} is not understood here",
            hint="send JSON, with Content-Type: application/json",
        )
    data = b"".join([chunk async for chunk in upload(request, settings, settings.max_body)])
    if not data:
        raise Invalid("the request has no body", hint="send a JSON object")
    return _parse(data)


def _parse(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise Invalid(
            f"the body is not JSON: {_place(str(error), data)}", hint="check commas, quotes and brackets"
        ) from None
    except RecursionError:
        raise Invalid("the body is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise Invalid(f"the body is not UTF-8 at byte {error.start}") from None


def _place(message: str, data: bytes) -> str:
    """msgspec counts bytes; people count lines and columns."""
    message = message.removeprefix("JSON is malformed: ")
    match = re.search(r" \(byte (\d+)\)", message)
    if not match:
        return message if "truncated" not in message else f"{message} (it ends too early)"
    before = data[: int(match[1])]
    line, column = before.count(b"\n") + 1, len(before) - (before.rfind(b"\n") + 1) + 1
    return f"{message[: match.start()]} at line {line}, column {column}"


async def upload(request: Request, settings: ApiSettings, limit: int) -> AsyncGenerator[bytes]:
    """The body in pieces. Raises `TooLarge` beyond `limit` bytes, `Invalid` when the client falls silent."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)
    pieces, size = request.stream(), 0
    while True:
        try:
            async with asyncio.timeout(settings.body_timeout):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise Invalid(f"the body stopped arriving for {settings.body_timeout:g} seconds") from None
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        if piece:
            yield piece


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {quantity.show_bytes(limit)}", hint="send less")


_TAG = re.compile(r'"([^"]*)"')


def if_match(connection: HTTPConnection) -> int | None:
    """The version that `If-Match` names; None without one. `*` is refused: versions are what we match."""
    header = connection.headers.get("if-match")
    if header is None:
        return None
    match = _TAG.fullmatch(header.strip())
    if not match:
        raise Invalid(
            "If-Match names no single version", hint='send the ETag that a GET answered: If-Match: "3"'
        )
    if not re.fullmatch(r"[0-9]{1,15}", match[1]):
        raise Stale(f"there never was a version {match[1][:50]!r}", hint="send the ETag that a GET answered")
    return int(match[1])


def only_new(connection: HTTPConnection) -> bool:
    """`If-None-Match: *`: only create, never change."""
    header = connection.headers.get("if-none-match")
    if header is None:
        return False
    if header.strip() != "*":
        raise Invalid("If-None-Match takes nothing but *", hint="leave it out to change what is there")
    return True
