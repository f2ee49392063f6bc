"""uvicorn's HTTP protocol, with limits on what a slow, huge or half-open client can hold."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from hivemind.api.access import Peer
from hivemind.api.settings import ApiSettings

_DRAINED = 64 * 2**20
"""Of a refused body we read so much, so that the client comes to see the answer; then we hang up."""


def websocket(**connection: Any) -> asyncio.Protocol:
    """The protocol of a connection that becomes a WebSocket; its libraries come with the first."""
    from hivemind.api.websocket import WebSocketProtocol

    return WebSocketProtocol(**connection)


class HttpProtocol(HttpToolsProtocol):
    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.settings: ApiSettings = app_state["settings"]
        self._stalled: asyncio.TimerHandle | None = None
        self._slow: asyncio.TimerHandle | None = None
        self._head = 0
        self._reading = False
        self._drained = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "peer": peer_of(transport)}
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_here()
        self._flows()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(self.settings.stall_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._flows()

    def _flows(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if not self._reading and self._slow is None:
            self._await_head()
        super().data_received(data)
        if self._slow is not None:
            self._head += len(data)
            if self._head > self.settings.max_headers and not self.transport.is_closing():
                self.transport.write(
                    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\r\n"
                )
                self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._reading = True

    def on_headers_complete(self) -> None:
        self._head_is_here()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        if self.cycle.response_complete:
            self._drained += len(body)
            if self._drained > _DRAINED:
                self.transport.abort()

    def on_message_complete(self) -> None:
        self._reading = False
        super().on_message_complete()

    def _await_head(self) -> None:
        self._head = 0
        self._slow = self.loop.call_later(self.settings.header_timeout, self.transport.abort)

    def _head_is_here(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None


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
