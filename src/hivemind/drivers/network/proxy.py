"""Published ports carried by this process: a TCP proxy and a UDP forwarder over the healthy backends.

Both choose among the backends with the fewest live connections, at random where they are equal. Changing the
backends never cuts a TCP connection that lives. Without a backend the port refuses, as the kernel does.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections import Counter
from collections.abc import Collection
from typing import cast

from hivemind.drivers.network.contract import Backend, Published
from hivemind.drivers.network.holding import bind

_CHUNK = 1 << 16
_CONNECT_PATIENCE = 5.0
_DATAGRAM_IDLE = 60.0


class Proxy:
    """One published TCP port on one address."""

    def __init__(self, port: Published, address: str) -> None:
        self._port = port
        self._address = address
        self._backends: tuple[Backend, ...] = ()
        self._live: Counter[Backend] = Counter()
        self._held: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def update(self, backends: tuple[Backend, ...]) -> None:
        """Raises OSError when the port cannot be opened."""
        self._backends = backends
        if self._held is None:
            self._held = bind(self._port, self._address)  # Bound but not listening: the kernel refuses.
        if backends and self._server is None:
            # With the option set the connections of an earlier time do not hinder; without it, while the
            # port does not listen, nobody else can take it.
            self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._server = await asyncio.start_server(self._accept, sock=self._held.dup())
        elif not backends and self._server is not None:
            self._server.close()
            self._server = None
            self._held.shutdown(socket.SHUT_RD)  # It stops listening and stays bound.
            self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        if self._held is not None:
            self._held.close()
        for connection in self._connections:
            connection.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        try:
            await self._serve(reader, writer)
        except asyncio.CancelledError:
            pass  # Only `close` cancels, and the task ends here either way.
        finally:
            self._connections.discard(connection)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tried: set[Backend] = set()
        while (backend := _choose(self._backends, self._live, tried)) is not None:
            self._live[backend] += 1
            try:
                try:
                    async with asyncio.timeout(_CONNECT_PATIENCE):
                        inner_reader, inner_writer = await asyncio.open_connection(*backend)
                except (OSError, TimeoutError):
                    tried.add(backend)
                    continue
                await _join(reader, writer, inner_reader, inner_writer)
                return
            finally:
                self._live[backend] -= 1
                if not self._live[backend]:
                    del self._live[backend]
        _reset(writer)


async def _join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    inner_reader: asyncio.StreamReader,
    inner_writer: asyncio.StreamWriter,
) -> None:
    """Carries both directions until both ended; one ending is passed on and leaves the other open."""
    directions = [
        asyncio.ensure_future(_carry(reader, inner_writer)),
        asyncio.ensure_future(_carry(inner_reader, writer)),
    ]
    try:
        await asyncio.gather(*directions)
        for side in (writer, inner_writer):
            side.close()
            await side.wait_closed()
    except OSError:
        _reset(writer)  # One side broke off; the other has to learn that it was no orderly end.
        _reset(inner_writer)
    finally:
        for direction in directions:
            direction.cancel()
        inner_writer.transport.abort()


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while chunk := await source.read(_CHUNK):
        sink.write(chunk)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0" + b"\0\0\0\0")
    writer.transport.abort()


def _choose(
    backends: tuple[Backend, ...], live: Counter[Backend], without: Collection[Backend] = ()
) -> Backend | None:
    candidates = [backend for backend in backends if backend not in without]
    if not candidates:
        return None
    fewest = min(live[backend] for backend in candidates)
    return random.choice([backend for backend in candidates if live[backend] == fewest])


Client = tuple[str, int]


class Forwarder(asyncio.DatagramProtocol):
    """One published UDP port on one address. A client keeps its backend until it was silent for a minute."""

    def __init__(self, port: Published, address: str) -> None:
        self._port = port
        self._address = address
        self._backends: tuple[Backend, ...] = ()
        self._outer: asyncio.DatagramTransport | None = None
        self._flows: dict[Client, _Flow] = {}
        self._live: Counter[Backend] = Counter()

    async def update(self, backends: tuple[Backend, ...]) -> None:
        """Raises OSError when the port cannot be opened. Without backends it stays unbound and so refuses."""
        self._backends = backends
        for flow in [flow for flow in self._flows.values() if flow.backend not in backends]:
            flow.end()
        if backends and self._outer is None:
            loop = asyncio.get_running_loop()
            held = bind(self._port, self._address)
            held.setblocking(False)
            self._outer, _ = await loop.create_datagram_endpoint(lambda: self, sock=held)
        elif not backends:
            bind(self._port, self._address).close() if self._outer is None else self._outer.close()
            self._outer = None

    def close(self) -> None:
        for flow in list(self._flows.values()):
            flow.end()
        if self._outer is not None:
            self._outer.close()

    def datagram_received(self, data: bytes, addr: Client) -> None:
        flow = self._flows.get(addr)
        if flow is None:
            backend = _choose(self._backends, self._live)
            if backend is None:
                return
            flow = self._flows[addr] = _Flow(self, addr, backend)
            self._live[backend] += 1
        flow.send(data)

    def answer(self, data: bytes, client: Client) -> None:
        if self._outer is not None and not self._outer.is_closing():
            self._outer.sendto(data, client)

    def forget(self, client: Client) -> None:
        flow = self._flows.pop(client, None)
        if flow is not None:
            self._live[flow.backend] -= 1


class _Flow(asyncio.DatagramProtocol):
    """The datagrams of one client, to one backend and back."""

    def __init__(self, forwarder: Forwarder, client: Client, backend: Backend) -> None:
        self.backend = backend
        self._forwarder = forwarder
        self._client = client
        self._waiting: list[bytes] = []
        self._transport: asyncio.DatagramTransport | None = None
        self._loop = asyncio.get_running_loop()
        self._used = self._loop.time()
        self._timer = self._loop.call_later(_DATAGRAM_IDLE, self._expire)
        self._opening = self._loop.create_task(self._open())

    async def _open(self) -> None:
        try:
            await self._loop.create_datagram_endpoint(lambda: self, remote_addr=self.backend)
        except OSError:
            self.end()  # As if the datagram got lost; the client's next one may choose another backend.

    def send(self, data: bytes) -> None:
        self._used = self._loop.time()
        if self._transport is None:
            self._waiting.append(data)
        else:
            self._transport.sendto(data)

    def end(self) -> None:
        self._timer.cancel()
        self._opening.cancel()
        if self._transport is not None:
            self._transport.close()
        self._forwarder.forget(self._client)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        opened = self._transport = cast(asyncio.DatagramTransport, transport)
        for data in self._waiting:
            opened.sendto(data)
        self._waiting.clear()

    def datagram_received(self, data: bytes, addr: Client) -> None:
        self._used = self._loop.time()
        self._forwarder.answer(data, self._client)

    def error_received(self, exc: Exception) -> None:
        self.end()  # The backend's port is closed; the client's next datagram goes elsewhere.

    def _expire(self) -> None:
        idle = self._loop.time() - self._used
        if idle >= _DATAGRAM_IDLE:
            self.end()
        else:
            self._timer = self._loop.call_later(_DATAGRAM_IDLE - idle, self._expire)
