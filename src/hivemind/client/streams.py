"""Answers that come piece by piece: lines of JSON, and server-sent events with resumption."""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hivemind.client.connection import Body, Connection
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
    with connection.open(method, path, query=query, body=body) as (_, response):
        yield from _read(response)


def _read(response: http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        for line in response:
            if line.strip():
                yield line
        # Read by lines, a body cut short ends like a whole one; but only a whole one is closed by then.
        if not response.isclosed():
            raise Unavailable("the answer broke off", hint="ask again")
    except TimeoutError:
        raise TimedOut("the daemon fell silent in the middle of its answer", hint="ask again") from None
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"the answer broke off: {error}", hint="ask again") from None


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
            with connection.open("GET", path, query=query, headers=headers) as (_, response):
                for message in _messages(response):
                    failed = False
                    last = message.id or last
                    if message.data:
                        yield message
            raise Unavailable("the stream of events ended", hint="is the daemon being stopped?")
        except (Unavailable, TimedOut):
            if failed:
                raise
            failed = True


def _messages(response: http.client.HTTPResponse) -> Iterator[Message]:
    id, event, data = "", "message", b""
    try:
        for raw in response:
            line = raw.rstrip(b"\r\n")
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
    except TimeoutError:
        raise TimedOut("the stream of events fell silent", hint="is the daemon being stopped?") from None
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(
            f"the stream of events broke off: {error}", hint="is the daemon being stopped?"
        ) from None
