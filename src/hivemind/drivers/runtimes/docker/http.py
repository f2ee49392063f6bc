"""HTTP/1.1 over a unix socket, as much of it as a docker engine needs: streamed bodies both ways, and connections
that are taken over for a terminal.

Each request has a connection of its own. On a unix socket that costs some microseconds, and a restart of the engine
leaves no pool of dead connections behind. Bare sockets instead of asyncio's streams: those forget an answer that is
there already when sending fails, and a refusal comes just so.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import suppress
from types import TracebackType

import httptools

from hivemind.errors import TooLarge

_BLOCK = 1 << 16
_LARGEST = 64 << 20
"""Bytes of an answer that is read whole."""

Body = bytes | AsyncIterator[bytes] | None


class Broken(ConnectionError):
    """Nobody answers, or not to the end."""


async def request(
    address: str, method: str, target: str, headers: Mapping[str, str], body: Body = None
) -> Response:
    """Sends it and returns once the answer's head is there. Raises `ConnectionError`, and what `body` raises."""
    connection = socket.socket(
        socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    )
    response = Response(connection)
    try:
        try:
            await asyncio.get_running_loop().sock_connect(connection, address)
        except OSError as error:
            raise Broken(os.strerror(error.errno or 0).lower()) from error
        lines = [f"{method} {target} HTTP/1.1", "Host: docker"]
        if body is not None:
            length = (
                f"Content-Length: {len(body)}" if isinstance(body, bytes) else "Transfer-Encoding: chunked"
            )
            lines.append(length)
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        sending = asyncio.ensure_future(_send(response, head, body))
        try:
            await _first_of(response.head(), sending)
        finally:
            # Whoever answers before all was sent does not want the rest: it was refused.
            sending.cancel()
            await asyncio.wait([sending])
    except BaseException:
        response.close()
        raise
    return response


async def _send(response: Response, head: bytes, body: Body) -> None:
    with suppress(ConnectionError):  # why it does not listen is what it answers
        await response.send(head)
        if isinstance(body, bytes):
            await response.send(body)
        elif body is not None:
            async for chunk in body:
                if chunk:
                    await response.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            await response.send(b"0\r\n\r\n")


async def _first_of(answering: Coroutine[None, None, None], sending: asyncio.Future[None]) -> None:
    """Returns with the answer; raises what kept the rest from being sent."""
    answer = asyncio.ensure_future(answering)
    try:
        await asyncio.wait((answer, sending), return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
        await answer
    finally:
        answer.cancel()
        await asyncio.wait([answer])


class Response:
    """`status` and `headers` (names in lower case) are there at once; the body comes as it is read."""

    def __init__(self, connection: socket.socket) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._loop = asyncio.get_running_loop()
        self._socket = connection
        self._parser = httptools.HttpResponseParser(self)
        self._body: deque[bytes] = deque()
        self._headed = False
        self._complete = False
        self._taken_over = False

    async def __aenter__(self) -> Response:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Also while somebody waits for it, who is then to be cancelled."""
        if (fd := self._socket.fileno()) >= 0:
            self._loop.remove_reader(fd)
            self._loop.remove_writer(fd)
            self._socket.close()

    async def read(self) -> bytes:
        """All that is left. Raises `ConnectionError`, and `TooLarge`."""
        whole = bytearray()
        async for chunk in self.chunks():
            whole += chunk
            if len(whole) > _LARGEST:
                raise TooLarge(f"the docker engine's answer is larger than {_LARGEST >> 20} MiB")
        return bytes(whole)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in pieces as they arrive. Raises `ConnectionError` when it breaks off."""
        while True:
            while self._body:
                yield self._body.popleft()
            if self._complete:
                return
            await self._more()

    # -- a connection that was taken over -------------------------------------------------------------------

    async def receive(self) -> bytes:
        """Raw bytes of what is no HTTP any more; empty at the end."""
        if self._body:
            return self._body.popleft()
        return await self._received()

    async def send(self, data: bytes) -> None:
        """Raises `ConnectionError` when nobody reads it."""
        if self._socket.fileno() < 0:
            raise Broken("the connection is closed")
        await self._loop.sock_sendall(self._socket, data)

    def end_sending(self) -> None:
        """The other side reads an end; what it still says can be received."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    # -- reading --------------------------------------------------------------------------------------------

    async def head(self) -> None:
        """Returns once status and headers are there."""
        while not self._headed:
            await self._more()

    async def _received(self) -> bytes:
        if self._socket.fileno() < 0:
            raise Broken("the connection is closed")
        return await self._loop.sock_recv(self._socket, _BLOCK)

    async def _more(self) -> None:
        data = await self._received()
        if not data:
            raise Broken("it ended the connection")
        if self._taken_over:
            self._body.append(data)
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._taken_over = True
            if rest := data[upgrade.args[0] :]:
                self._body.append(rest)
        except httptools.HttpParserError as error:
            raise Broken(f"it speaks no HTTP ({error})") from error

    # what the parser calls

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._headed = self.status >= 200 or self.status == 101

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        self._complete = self._headed and self.status != 101
