"""Answers that come piece by piece: lines of JSON, and server-sent events with resumption."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hivemind.client.connection import STREAM_SILENCE, Connection
from hivemind.client.http import Body, Exchange
from hivemind.errors import TimedOut, Unavailable


def lines(
    connection: Connection,
    method: str,
    path: str,
    *,
    query: Mapping[str, object] | None = None,
    body: Body = None,
) -> Iterator[bytes]:
    """Each line of an NDJSON answer as it arrives. Raises `Unavailable` when it breaks off."""
    timeout = max(connection.timeout, STREAM_SILENCE)
    with (
        connection.open(method, path, query=query, body=body, timeout=timeout) as exchange,
        connection.explained(),
    ):
        for line in exchange.lines():
            if line:
                yield line


@dataclass(frozen=True)
class Message:
    id: str
    event: str
    data: bytes


def server_sent_events(
    connection: Connection, path: str, query: Mapping[str, object], after: str | None
) -> Iterator[Message]:
    """Without end. A broken stream is resumed behind the last id, two failures in a row raise."""
    last, failed = after, False
    while True:
        headers = {"Accept": "text/event-stream"}
        if last is not None:
            headers["Last-Event-ID"] = last
        try:
            timeout = max(connection.timeout, STREAM_SILENCE)
            with (
                connection.open("GET", path, query=query, headers=headers, timeout=timeout) as exchange,
                connection.explained(),
            ):
                for message in _messages(exchange):
                    failed = False
                    last = message.id or last
                    if message.data:
                        yield message
            raise Unavailable("the stream of events ended", hint="is the daemon being stopped?")
        except (Unavailable, TimedOut):
            if failed:
                raise
            failed = True


def _messages(exchange: Exchange) -> Iterator[Message]:
    id, event, data = "", "message", b""
    for line in exchange.lines():
        if not line:
            if id or data:
                yield Message(id, event, data)
            id, event, data = "", "message", b""
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"id":
            id = value.decode()
        elif field == b"event":
            event = value.decode()
        elif field == b"data":
            data = data + b"\n" + value if data else value
