"""A connection over HTTP/1.1, with limits on what a slow, huge or half-open client can hold.

httptools parses. Requests that come before the last one is answered wait their turn.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import struct
from collections import deque
from typing import Any
from urllib.parse import unquote

import httptools
import msgspec
from starlette.types import ASGIApp, Scope

from hivemind.api.access import Peer
from hivemind.api.settings import ApiSettings
from hivemind.api.transaction import Transaction
from hivemind.errors import Invalid
from hivemind.model.answers import PROBLEM_FORMAT, problem

log = logging.getLogger("hivemind.api")
_DRAINED = 64 * 2**20
"""Of a refused body we read so much, so that the client comes to see the answer; then we hang up."""


class Clients:
    """All connections of a server, and what is being answered."""

    def __init__(self, application: ASGIApp, settings: ApiSettings) -> None:
        self.application, self.settings = application, settings
        self.connections: set[Any] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.default_headers: list[tuple[bytes, bytes]] = []
        """For uvicorn, whose WebSockets are among them."""


class HttpProtocol(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, clients: Clients) -> None:
        self._clients, self.settings = clients, clients.settings
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        # What follows a request that is to be the last does not make the answer to that one fail.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.app_state: dict[str, Any] = {}
        self._current: Transaction | None = None
        """Of the request that arrives, or arrived last."""
        self._answered: Transaction | None = None
        """The one that is answered, or was last."""
        self._waiting: deque[Transaction] = deque()
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._paused = False
        self._idle: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._slow: asyncio.TimerHandle | None = None
        self._head = 0
        self._reading = False
        self._drained = 0

    # -- the connection --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._clients.connections.add(self)
        self.app_state = {"peer": peer_of(transport)}
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._clients.connections.discard(self)
        self._head_is_here()
        self._flows()
        self._is_busy()
        self._may_write.set()
        if self._answered is not None:
            self._answered.lose()
        self._waiting.clear()
        del self._parser  # which knows us

    def shutdown(self) -> None:
        """A request that is being answered is the last."""
        if self._current is None or self._current.done:
            self.transport.close()
        else:
            self._current.keep_alive = False

    def pause_writing(self) -> None:
        self._may_write.clear()
        self._stalled = self._loop.call_later(self.settings.stall_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        self._may_write.set()
        self._flows()

    def _flows(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _is_busy(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    # -- for transactions ------------------------------------------------------------------------------------

    def pause_reading(self) -> None:
        if not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Not while requests wait: who sends ever more of them without reading fills no memory."""
        if self._paused and not self._waiting:
            self._paused = False
            self.transport.resume_reading()

    async def writable(self) -> None:
        await self._may_write.wait()

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)

    def close(self) -> None:
        self.transport.close()

    def answered(self) -> None:
        if self.transport.is_closing():
            return
        if self._waiting:
            self._start(self._waiting.popleft())
        else:
            self._is_busy()
            self._idle = self._loop.call_later(self.settings.keep_alive, self.transport.close)
        self.resume_reading()

    # -- what arrives ----------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._is_busy()
        if not self._reading and self._slow is None:
            self._await_head()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._wants_websocket():
                self._become_websocket()
                return
        except httptools.HttpParserError:
            self._refuse(Invalid("that is no HTTP request", hint="curl -v shows what is sent"))
        if self._slow is not None:
            self._head += len(data)
            if self._head > self.settings.max_headers and not self.transport.is_closing():
                self._hang_up(b"431 Request Header Fields Too Large\r\ncontent-length: 0")

    def _refuse(self, error: Invalid) -> None:
        body = msgspec.json.encode(problem(error))
        head = f"400 Bad Request\r\ncontent-type: {PROBLEM_FORMAT}\r\ncontent-length: {len(body)}"
        self._hang_up(head.encode(), body)

    def _hang_up(self, head: bytes, body: bytes = b"") -> None:
        self.write(b"HTTP/1.1 %b\r\nconnection: close\r\n\r\n%b" % (head, body))
        self.transport.close()

    def _await_head(self) -> None:
        self._head = 0
        self._slow = self._loop.call_later(self.settings.header_timeout, self.transport.abort)

    def _head_is_here(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    # What follows is called by the parser.

    def on_message_begin(self) -> None:
        self._url, self._headers = b"", []
        self._drained = 0
        self._reading = True

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._head_is_here()
        if self._wants_websocket():
            return
        version, before = self._parser.get_http_version(), self._current
        self._current = Transaction(
            self,
            self._scope(version),
            keep_alive=version != "1.0" and self._parser.should_keep_alive(),
            expects=any(n == b"expect" and v.lower() == b"100-continue" for n, v in self._headers),
        )
        if before is None or before.done:
            self._start(self._current)
        else:
            self._waiting.append(self._current)
            self.pause_reading()

    def on_body(self, body: bytes) -> None:
        if self._current is None or self._wants_websocket():
            return
        if not self._current.done:
            self._current.feed(body)
            return
        self._drained += len(body)
        if self._drained > _DRAINED:
            self.transport.abort()

    def on_message_complete(self) -> None:
        self._reading = False
        if self._current is not None and not self._wants_websocket():
            self._current.end()

    def _scope(self, version: str) -> Scope:
        url = httptools.parse_url(self._url)
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": version,
            "method": self._parser.get_method().decode("ascii"),
            "scheme": "https" if self.transport.get_extra_info("sslcontext") else "http",
            "path": unquote(url.path.decode("ascii")),
            "raw_path": url.path,
            "query_string": url.query or b"",
            "root_path": "",
            "headers": self._headers,
            "client": _place(self.transport.get_extra_info("peername")),
            "server": _place(self.transport.get_extra_info("sockname")),
            "state": dict(self.app_state),
        }

    def _start(self, transaction: Transaction) -> None:
        self._answered = transaction
        task = self._loop.create_task(transaction.run(self._clients.application))
        self._clients.tasks.add(task)
        task.add_done_callback(self._clients.tasks.discard)

    def _wants_websocket(self) -> bool:
        if not self._parser.should_upgrade():
            return False
        fields = dict(self._headers)
        tokens = [token.strip().lower() for token in fields.get(b"connection", b"").split(b",")]
        return b"upgrade" in tokens and fields.get(b"upgrade", b"").lower() == b"websocket"

    def _become_websocket(self) -> None:
        """Its libraries come with the first."""
        from hivemind.api.websocket import websocket

        self._clients.connections.discard(self)
        lines = [b"%b %b HTTP/1.1" % (self._parser.get_method(), self._url)]
        lines += [name + b": " + value for name, value in self._headers]
        protocol = websocket(self._clients, self.app_state)
        protocol.connection_made(self.transport)
        protocol.data_received(b"\r\n".join((*lines, b"", b"")))
        self.transport.set_protocol(protocol)


def _place(address: Any) -> tuple[str, int | None] | None:
    """As ASGI writes it; of a unix socket there is only the server's."""
    if isinstance(address, tuple):
        return str(address[0]), int(address[1])
    return (address, None) if address and isinstance(address, str) else None


def _probe_when_idle(sock: Any) -> None:
    """So that a peer that vanished without a word is found out in a minute and a half."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3)):
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def peer_of(transport: asyncio.BaseTransport) -> Peer:
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family == socket.AF_UNIX:
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return Peer(unix=True, uid=struct.unpack("3i", credentials)[1])
    if sock is not None:
        _probe_when_idle(sock)
    ours = transport.get_extra_info("sockname") or ("",)
    try:
        loopback = ipaddress.ip_address(str(ours[0]).partition("%")[0]).is_loopback
    except ValueError:
        loopback = False
    return Peer(unix=False, loopback=loopback)
