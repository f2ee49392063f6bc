"""One request over HTTP/1.1 and its answer, as an ASGI application sees them."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Protocol

from starlette.types import ASGIApp, Message, Scope

log = logging.getLogger("hivemind.api")
_HELD = 64 * 2**10
"""Of a body so much waits for the application before no more of it is read."""
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_WITHOUT_BODY = (204, 304)
UNSPEAKABLE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""What no value of a header may have in it: it would end the line."""
_DEFECT = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Line(Protocol):
    """The connection that it goes over."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    async def writable(self) -> None: ...

    def write(self, data: bytes) -> None:
        """Nothing, when it is closing."""

    def close(self) -> None: ...

    def answered(self) -> None:
        """The next one may begin."""


class Transaction:
    """The connection tells it what arrives by `feed`, `end` and `lose`."""

    def __init__(self, line: Line, scope: Scope, *, keep_alive: bool, expects: bool) -> None:
        """`expects`: the client sends the body once it is told to go on."""
        self.scope = scope
        self.keep_alive = keep_alive
        self.done = False
        """Everything is said: the rest of the request interests nobody."""
        self._line = line
        self._expects = expects
        self._body, self._whole = bytearray(), False
        self._news = asyncio.Event()
        self._gone = False
        self._begun = False
        self._left: int | None = None
        """Bytes of the announced length that are still to come; None: it comes in chunks."""

    def feed(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > _HELD:
            self._line.pause_reading()
        self._news.set()

    def end(self) -> None:
        self._whole = True
        self._news.set()

    def lose(self) -> None:
        """The client has left."""
        self._gone = True
        self._news.set()

    async def run(self, application: ASGIApp) -> None:
        """An answer that breaks off ends the connection, which every client of HTTP/1.1 notices."""
        try:
            await application(self.scope, self.receive, self.send)
        except Exception:
            log.exception("%s %s broke off", self.scope["method"], self.scope["path"])
        finally:
            if not self.done and not self._gone:
                if not self._begun:
                    self._line.write(_DEFECT)
                self._line.close()

    async def receive(self) -> Message:
        if self._expects:
            self._expects = False
            self._line.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self._gone and not self.done:
            self._line.resume_reading()
            await self._news.wait()
            self._news.clear()
        if self._gone or self.done:
            return {"type": "http.disconnect"}
        body, self._body = bytes(self._body), bytearray()
        return {"type": "http.request", "body": body, "more_body": not self._whole}

    async def send(self, message: Message) -> None:
        """Waits while the client does not read. What is for one that has left is dropped."""
        await self._line.writable()
        if self._gone:
            return
        if not self._begun:
            self._send_head(message["status"], message.get("headers", ()))
        elif not self.done:
            self._send_body(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError("an answer goes on after its end")

    def _send_head(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._begun, self._expects = True, False
        lines = [f"HTTP/1.1 {status} {_PHRASES.get(status, '')}".encode()]
        length = 0 if self.scope["method"] == "HEAD" or status in _WITHOUT_BODY else None
        for name, value in headers:
            if UNSPEAKABLE.search(value):
                raise RuntimeError(f"a header {name!r} cannot have the value {value!r}")
            if name == b"content-length" and length is None:
                length = int(value)
            elif name == b"connection" and value.lower() == b"close":
                self.keep_alive = False
                continue
            lines.append(name + b": " + value)
        if not self.keep_alive:
            lines.append(b"connection: close")
        if length is None:
            lines.append(b"transfer-encoding: chunked")
        self._left = length
        self._line.write(b"\r\n".join((*lines, b"", b"")))

    def _send_body(self, body: bytes, more: bool) -> None:
        if self._left is None:
            piece = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            self._line.write(piece if more else piece + b"0\r\n\r\n")
        elif self.scope["method"] != "HEAD":
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("an answer is not as long as it announced")
            self._line.write(body)
        if not more:
            self.done = True
            self._news.set()
            if not self.keep_alive:
                self._line.close()
            self._line.answered()
