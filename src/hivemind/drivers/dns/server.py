"""The name server of a node: UDP and TCP around the pure `answer`, and forwarding for everyone else's names."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Coroutine
from typing import Any

from hivemind.drivers.dns.forwarder import Forwarder
from hivemind.drivers.dns.lookups import Lookups
from hivemind.drivers.dns.resolv_conf import ResolvConf
from hivemind.errors import Conflict, Forbidden, HivemindError, Unavailable
from hivemind.protocols.dns.answer import Forward, answer, failure
from hivemind.protocols.dns.zone import Zone

Address = tuple[str, int]
_LENGTH = struct.Struct("!H")

BATCH = 256
"""So many datagrams are answered in a row before other work of the event loop gets a turn."""
RECEIVE_BUFFER = 2**20


class NameServer:
    """Listens on any number of addresses, all with the same zone. A new zone counts from the next query on."""

    def __init__(
        self,
        forwarder: Forwarder | None = None,
        *,
        connections: int = 128,
        idle: float = 10.0,
    ) -> None:
        """`connections` by TCP at most; each is closed after `idle` seconds without a query."""
        self.queries = 0
        self.forwarded = 0
        self.failures = 0
        """Forwarded queries that no upstream replied to, and responses the kernel would not send."""
        self._lookups = Lookups()
        self._zone = Zone.build()
        self._forwarder = forwarder or Forwarder(ResolvConf().upstreams)
        self._connections = connections
        self._idle = idle
        self._sockets: dict[Address, socket.socket] = {}
        self._servers: dict[Address, asyncio.Server] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._addresses: frozenset[Address] = frozenset()
        self._open_connections = 0

    def set_zone(self, zone: Zone) -> None:
        self._zone = zone

    def name_of(self, client: str, address: str) -> str:
        """By what name the client knows that IPv4 address: the app's, or what it asked us for; otherwise the address.

        May be asked on any thread."""
        return self._zone.name_of(address) or self._lookups.name_of(client, address) or address

    @property
    def addresses(self) -> frozenset[Address]:
        return self._addresses

    async def listen(self, host: str, port: int) -> int:
        """Answers at this address, by UDP and TCP; the port, chosen by the kernel when 0 was given.

        Raises `Conflict` (somebody listens there), `Forbidden` (a low port needs root) or `Unavailable` (the
        address is not on this machine)."""
        try:
            udp, tcp = _bind(host, port)
        except OSError as error:
            raise _explained(error, host, port) from error
        address: Address = (host, udp.getsockname()[1])
        self._servers[address] = await asyncio.start_server(self._connected, sock=tcp)
        self._sockets[address] = udp
        asyncio.get_running_loop().add_reader(udp, self._drain, udp)
        self._addresses = frozenset(self._sockets)
        return address[1]

    async def close(self) -> None:
        loop = asyncio.get_running_loop()
        for sock in self._sockets.values():
            loop.remove_reader(sock)
        for server in self._servers.values():
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for server in self._servers.values():
            await server.wait_closed()
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()
        self._servers.clear()
        self._addresses = frozenset()

    def _drain(self, sock: socket.socket) -> None:
        """Answers what waits in the socket. What is ours needs no task and no await."""
        zone = self._zone
        for _ in range(BATCH):
            try:
                data, client = sock.recvfrom(4096)
            except BlockingIOError:
                return
            except OSError:
                self.failures += 1
                return
            self.queries += 1
            response = answer(data, client[0], zone)
            if isinstance(response, Forward):
                self._spawn(self._forward_udp(sock, data, client, response))
            elif response is not None:
                self._send(sock, response, client)

    def _send(self, sock: socket.socket, response: bytes, client: Any) -> None:
        try:
            sock.sendto(response, client)
        except OSError:
            # A full buffer, or a client that cannot be reached any more. It asks again if it is there.
            self.failures += 1

    async def _forward_udp(self, sock: socket.socket, data: bytes, client: Any, forward: Forward) -> None:
        response = await self._forward(data, client[0], forward, tcp=False)
        if sock.fileno() >= 0:
            self._send(sock, response, client)

    async def _forward(self, data: bytes, client: str, forward: Forward, *, tcp: bool) -> bytes:
        reply = await self._forwarder.ask(data, forward.query.question, self._addresses, tcp=tcp)
        if reply is None:
            self.failures += 1
            return failure(forward.query)
        self.forwarded += 1
        self._lookups.note(client, reply)
        return reply

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open_connections >= self._connections:
            writer.close()
            return

        def ended(task: asyncio.Task[None]) -> None:
            self._open_connections -= 1
            writer.close()

        self._open_connections += 1
        # In a callback and not in the coroutine, which never begins when it is cancelled at once.
        self._spawn(self._converse(reader, writer)).add_done_callback(ended)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            pass  # The client went away or said nothing for too long: that is how connections end.

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = writer.get_extra_info("peername")[0]
        while True:
            async with asyncio.timeout(self._idle):
                (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
                data = await reader.readexactly(length)
            self.queries += 1
            response = answer(data, client, self._zone, "tcp")
            if isinstance(response, Forward):
                response = await self._forward(data, client, response, tcp=True)
            if response is None:
                return
            writer.write(_LENGTH.pack(len(response)) + response)
            async with asyncio.timeout(self._idle):
                await writer.drain()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _bind(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A datagram and a stream socket on the same port. With port 0 a few ports are tried, because the one
    that is free for streams may be taken for datagrams."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for tries_left in range(7, -1, -1):
        udp = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        tcp = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            # Streams first: far more of their ports are taken, by connections too, and the kernel picks a free one.
            tcp.bind((host, port))
            tcp.listen(128)
            udp.bind((host, tcp.getsockname()[1]))
            return udp, tcp
        except OSError as error:
            udp.close()
            tcp.close()
            if port or not tries_left or error.errno != errno.EADDRINUSE:
                raise
    raise AssertionError("unreachable")


def _explained(error: OSError, host: str, port: int) -> HivemindError:
    where = f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return Conflict(
            f"the name server cannot listen on {where}: something else does",
            hint=f"see what it is with 'ss -lntup sport = :{port}', stop it or choose another address",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return Forbidden(
            f"the name server may not listen on {where}",
            hint="ports below 1024 need root or CAP_NET_BIND_SERVICE; choose a higher port",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return Unavailable(
            f"the name server cannot listen on {where}: this machine has no such address",
            hint="see the machine's addresses with 'ip address'",
        )
    return Unavailable(f"the name server cannot listen on {where}: {os.strerror(error.errno or 0)}")
