"""A request over a stream between two nodes: an opening, then the events of ASGI both ways, as they are.

Events travel as MessagePack, cut into parts that fit into a message of the stream; the stream's own window is the
back-pressure. Whoever asked sends what a client would, the other side what an application would.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from types import NoneType
from typing import Any

import msgspec

from hivemind.api.transaction import UNSPEAKABLE
from hivemind.errors import Invalid, TooLarge, Unavailable
from hivemind.security.statement import Statement
from hivemind.transport.contract import Stream

SERVICE = "api"
_PART = 2**18
_LARGEST = 4 * 2**20
"""Bytes of one event. Bodies come in pieces; a message of a WebSocket is one event."""
_MORE, _LAST = b"\0", b"\1"
_FROM_CLIENT = frozenset(
    ("http.request", "http.disconnect", "websocket.connect", "websocket.receive", "websocket.disconnect")
)
_FROM_APPLICATION = frozenset(
    (
        "http.response.start", "http.response.body", "websocket.accept", "websocket.send", "websocket.close",
        "websocket.http.response.start", "websocket.http.response.body",
    )
)  # fmt: skip
_TYPES: dict[str, tuple[type, ...]] = {
    "body": (bytes,), "more_body": (bool,), "status": (int,), "code": (int,), "bytes": (bytes, NoneType),
    "text": (str, NoneType), "reason": (str, NoneType), "subprotocol": (NoneType,), "headers": (list,),
}  # fmt: skip
"""Of what stands in an event. Nobody offers a subprotocol."""
_NAME = re.compile(rb"[a-z][a-z0-9-]*")
_OF_THE_CONNECTION = (b"connection", b"keep-alive", b"set-cookie", b"transfer-encoding", b"upgrade")
"""Headers that no answer of the other node may have: they are about the connection, or the whole of this one."""
_BODIES = ("http.request", "http.response.body", "websocket.http.response.body")

Event = MutableMapping[str, Any]


class Opening(msgspec.Struct, frozen=True, array_like=True):
    """Who asks for what is in the delegation. `headers`: those that say something about the body."""

    delegation: Statement
    headers: list[tuple[bytes, bytes]] = []


_openings = msgspec.msgpack.Decoder(Opening)
_events = msgspec.msgpack.Decoder(dict[str, Any])


class Events:
    """One side of a stream. `client`: this side sends what a client does."""

    def __init__(self, stream: Stream, *, client: bool) -> None:
        self._stream = stream
        self._expected = _FROM_APPLICATION if client else _FROM_CLIENT

    async def send(self, event: Event) -> None:
        """Raises `Unavailable` when the stream is broken."""
        for piece in _pieces(event):
            encoded = msgspec.msgpack.encode(piece)
            if len(encoded) > _LARGEST:
                raise TooLarge(
                    f"a message of {len(encoded):,} bytes cannot be passed on", hint="send it in parts"
                )
            for start in range(0, len(encoded), _PART):
                last = start + _PART >= len(encoded)
                await self._stream.send((_LAST if last else _MORE) + encoded[start : start + _PART])

    async def receive(self) -> Event | None:
        """None: the other side has finished. Raises `Unavailable` when the stream is broken, `Invalid` for what makes
        no sense."""
        parts, size = [], 0
        while (message := await self._stream.receive()) is not None:
            parts.append(message[1:])
            size += len(message)
            if size > _LARGEST + _PART:
                raise Invalid("the other node sends more at once than it may")
            if message[:1] == _LAST:
                return self._understood(b"".join(parts))
        if parts:
            raise Unavailable("the other node has stopped in the middle of something")
        return None

    def _understood(self, data: bytes) -> Event:
        try:
            event = _events.decode(data)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise Invalid("what the other node sends cannot be read") from None
        if event.get("type") not in self._expected or not _sound(event):
            raise Invalid("the other node sends what nobody asked for")
        return event


def _sound(event: Event) -> bool:
    """Whether whoever takes it for one of his own can do no harm with it: a header, or a status, that ends its line
    would begin an answer to somebody else's request."""
    if any(type(event[key]) not in types for key, types in _TYPES.items() if key in event):
        return False
    if event["type"].endswith("http.response.start") and not 200 <= event.get("status", 0) < 600:
        return False
    return all(_sound_header(header) for header in event.get("headers", ()))


def _sound_header(header: Any) -> bool:
    if not isinstance(header, list) or len(header) != 2 or not all(type(each) is bytes for each in header):
        return False
    name, value = header
    return bool(_NAME.fullmatch(name)) and name not in _OF_THE_CONNECTION and not UNSPEAKABLE.search(value)


def _pieces(event: Event) -> list[Event]:
    """A large body as several."""
    body = event.get("body", b"")
    if event["type"] not in _BODIES or len(body) <= _PART:
        return [event]
    more, starts = event.get("more_body", False), range(0, len(body), _PART)
    return [
        {**event, "body": body[start : start + _PART], "more_body": more or start != starts[-1]}
        for start in starts
    ]


def encode_opening(opening: Opening) -> bytes:
    return msgspec.msgpack.encode(opening)


def read_opening(message: bytes) -> Opening:
    """Raises `Invalid`."""
    try:
        return _openings.decode(message)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise Invalid("what the other node asks cannot be read") from None
