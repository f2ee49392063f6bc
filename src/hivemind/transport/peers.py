"""Connections with the other nodes of the hive, over TCP: one listener, and dialling when there is something to say.

For each pair of nodes there is one connection. When both call each other at once, the call of the node with the lower
id is kept: the other caller is told so before anything went over its own. Whoever calls has no connection, so a call
from a node with which there seems to be one means that it lost that: a call by the higher id makes the lower one ask
over the old connection whether it still lives, any other simply replaces it.

Strangers cost little: who has not finished its handshake is one of few, of each address fewer, and makes room for the
next; nobody is answered before its id is known and `allowed`, except whom the hive's secret lets make a first contact.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Sequence

from hivemind.errors import HivemindError, Invalid, Unavailable
from hivemind.protocols.mux.limits import Limits
from hivemind.protocols.noise.channel import Channel
from hivemind.security.identity import Identity
from hivemind.transport.connection import Connection, Timing
from hivemind.transport.contract import Address, Contact, Stream
from hivemind.transport.dialing import Dialer
from hivemind.transport.link import Bounds, Link
from hivemind.transport.services import Answer, Hear, Serve, Services, Watch, Welcome
from hivemind.transport.stream import ChannelStream, measured

_CONTACT = "contact"
_ARRIVALS = 64 * 1024
"""Bytes that one turn of the loop reads from one connection."""


class TcpPeers:
    """Keeps `contract.Peers`. `allowed`: whether a node belongs to the hive."""

    def __init__(
        self,
        identity: Identity,
        allowed: Callable[[str], bool],
        *,
        hive: str = "",
        secret: bytes | None = None,
        limits: Limits = Limits(),  # noqa: B008 - these are frozen
        timing: Timing = Timing(),  # noqa: B008
        bounds: Bounds = Bounds(),  # noqa: B008
    ) -> None:
        self.node = identity.public
        self.dropped = 0
        """Messages that were lost here, before they were sent or after they came."""
        self.refused = 0
        """Calls that ended before they were of use to anybody."""
        self._seed, self._allowed = identity.seed, allowed
        self._hive, self._secret = hive, secret
        self._limits, self._timing, self._bounds = limits, timing, bounds
        self._services = Services()
        self._greeters = Services()
        """All that first contacts reach."""
        self._links: dict[str, Link] = {}
        self._strangers: dict[Connection, None] = {}
        self._contacts: dict[Connection, None] = {}
        self._arrivals = memoryview(bytearray(_ARRIVALS))
        self._dialer = Dialer(self._calling, self._around, timing, bounds)
        self.detour: Callable[[str], Awaitable[socket.socket]] | None = None
        """Asked for another way to a node, when it answers at none of its addresses: see `relay`."""
        self._server: asyncio.Server | None = None
        self._address: Address = ("", 0)
        self._closed = False

    async def start(self, host: str, port: int) -> None:
        """Listens there and nowhere else; port 0: any free one. Raises `Unavailable`."""
        if not host:  # To asyncio that means every address.
            raise Invalid("there is no address to listen at for other nodes", hint="say which one")
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(self._answered, host, port, backlog=128)
        except OSError as error:
            raise Unavailable(
                f"cannot listen for other nodes on {host}:{port}: {error.strerror}",
                hint="end what listens there, or choose another port",
            ) from None
        self._address = self._server.sockets[0].getsockname()[:2]

    async def close(self) -> None:
        self._closed = True
        if self._server:
            self._server.close()
        dialing = [link.dialing for link in self._links.values() if link.dialing]
        for link in tuple(self._links.values()):
            if link.connection:
                link.connection.hang_up("this node stops")
        self._cut_all("this node stops")
        for contact in tuple(self._contacts):
            contact.abort("this node stops")
        await asyncio.gather(*dialing, return_exceptions=True)

    @property
    def address(self) -> Address:
        return self._address

    @property
    def connected(self) -> frozenset[str]:
        return frozenset(node for node, link in self._links.items() if link.connection)

    def enter(self, hive: str, secret: bytes | None) -> None:
        changed, self._hive, self._secret = hive != self._hive, hive, secret
        if changed:
            self._cut_all("this node belongs to another hive now")

    def review(self) -> None:
        for node, link in tuple(self._links.items()):
            if not self._allowed(node):
                self._give_up(node, link, "that node does not belong to this hive")

    def learn(self, node: str, addresses: Sequence[Address]) -> None:
        if node == self.node:
            return
        link = self._links.setdefault(node, Link())
        link.moved(tuple(addresses))
        if not addresses and not link.connection:
            self._give_up(node, link, "nobody knows where that node is")

    def on_connection(self, callback: Watch) -> Callable[[], None]:
        return self._services.on_connection(callback)

    def on_message(self, service: str, handler: Hear) -> Callable[[], None]:
        return self._services.on_message(service, handler)

    def answer(self, service: str, handler: Answer) -> Callable[[], None]:
        return self._services.answer(service, handler)

    def accept(self, service: str, handler: Serve) -> Callable[[], None]:
        return self._services.accept(service, handler)

    def welcome(self, handler: Welcome) -> Callable[[], None]:
        async def greet(stream: Stream) -> None:
            assert isinstance(stream, ChannelStream)
            await handler(stream)

        return self._greeters.accept(_CONTACT, greet)

    def send(self, to: str, service: str, message: bytes) -> bool:
        measured(message)
        link = self._links.get(to)
        if link and link.connection:
            return link.connection.send(service, message)
        if link is None or not self._may_dial(to, link):
            return False
        if not link.put(service, message, self._bounds):
            self.dropped += 1
            return False
        self._dial(to, link)
        return True

    async def call(self, to: str, service: str, message: bytes, *, timeout: float) -> bytes:
        measured(message)
        try:
            async with asyncio.timeout(timeout):
                return await (await self._reach(to)).call(service, message)
        except TimeoutError:
            raise _no_answer(to, timeout) from None

    async def open(self, to: str, service: str, *, timeout: float) -> Stream:
        try:
            async with asyncio.timeout(timeout):
                return await (await self._reach(to)).open(service)
        except TimeoutError:
            raise _no_answer(to, timeout) from None

    async def contact(self, address: Address, hive: str, secret: bytes, *, timeout: float) -> Contact:
        connection = self._connection(self._channel(hive, secret, initiator=True), dialed=True)
        try:
            async with asyncio.timeout(timeout):
                await asyncio.get_running_loop().create_connection(lambda: connection, *address)
                await connection.settled()
                return await connection.open(_CONTACT)
        except TimeoutError:
            connection.abort("it took too long")
        except OSError as error:
            connection.abort(error.strerror or str(error))
        except HivemindError as error:
            connection.abort(error.message)
        except BaseException:
            connection.abort("nobody waits for it any more")
            raise
        raise Unavailable(
            f"no first contact with {address[0]}:{address[1]}: {connection.reason}",
            hint="see that a node of that hive listens there, and that the token is one of that hive",
        )

    # What connections ask: `connection.Owner`.

    def arrived(self, connection: Connection) -> None:
        """The oldest stranger makes room: who means it has finished long before."""
        self._strangers[connection] = None
        host = connection.source[0]
        of_host = [one for one in self._strangers if one.source[0] == host]
        if self._closed:
            connection.abort("this node stops")
        elif len(of_host) > self._bounds.strangers_of_address:
            of_host[0].abort("too many calls from there wait for their handshake")
        elif len(self._strangers) > self._bounds.strangers:
            next(iter(self._strangers)).abort("too many calls wait for their handshake")

    def services(self, connection: Connection) -> Services:
        if not connection.first_contact:
            return self._services
        return Services() if connection.dialed else self._greeters

    def permits(self, connection: Connection) -> bool:
        if connection.first_contact:
            taken = sum(not contact.dialed for contact in self._contacts)
            return connection.dialed or bool(self._greeters.serving and taken < self._bounds.contacts)
        return connection.peer != self.node and self._allowed(connection.peer)

    def greeted(self, connection: Connection) -> bool:
        link = self._links.get(connection.peer)
        if connection.first_contact or link is None or self.node > connection.peer:
            return True
        if link.connection and link.connection.dialed:
            link.connection.probe(self._bounds.doubt)
            return False
        return not (link.candidate and link.candidate.connected)

    def opened(self, connection: Connection) -> None:
        self._strangers.pop(connection, None)
        if connection.first_contact:
            self._contacts[connection] = None
            loop = asyncio.get_running_loop()
            loop.call_later(self._bounds.contact_time, connection.abort, "the first contact took too long")
            loop.call_later(self._bounds.contact_opens, _let_go_of_silent, connection)
            return
        link = self._links.setdefault(connection.peer, Link())
        if link.connection:
            link.connection.abort("another connection replaced it")
            self._links[connection.peer] = link
        if link.dialing and link.candidate is not connection:
            link.dialing.cancel()
        link.up(connection)
        self._services.tell(connection.peer, True)

    def closed(self, connection: Connection) -> None:
        if self._strangers.pop(connection, connection) is None:
            self.refused += 1
        self._contacts.pop(connection, None)
        self.dropped += connection.lost_messages
        link = self._links.get(connection.peer)
        if link and link.connection is connection:
            link.connection = None
            self._forget(connection.peer, link)
            self._services.tell(connection.peer, False)

    # Dialling.

    def _may_dial(self, node: str, link: Link) -> bool:
        return bool(link.addresses) and not self._closed and self._allowed(node)

    async def _reach(self, node: str) -> Connection:
        """The connection, made if need be. Raises `Unavailable`."""
        link = self._links.get(node)
        if link and link.connection:
            return link.connection
        if link is None or not self._may_dial(node, link):
            raise _no_way(node, "nobody knows where it is, or it does not belong to this hive")
        future: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        link.waiting.append(future)
        self._dial(node, link)
        try:
            return await future
        finally:
            link.waiting.remove(future)

    def _dial(self, node: str, link: Link) -> None:
        if link.dialing is None:
            link.dialing = asyncio.get_running_loop().create_task(self._dialer.dial(node, link))
            link.dialing.add_done_callback(lambda task: self._dialed(node, link, task))

    def _dialed(self, node: str, link: Link, task: asyncio.Task[str]) -> None:
        """It ended with a connection, or with a pause before the next attempt."""
        link.dialing = link.candidate = None
        if link.connection is None:
            reason = "it is not needed any more" if task.cancelled() else task.result()
            now = asyncio.get_running_loop().time()
            self.dropped += link.failed(_no_way(node, reason), now, self._bounds)
            self._forget(node, link)

    async def _around(self, node: str) -> socket.socket | None:
        return await self.detour(node) if self.detour else None

    # Connections.

    async def answer_over(self, way: socket.socket) -> None:
        """Somebody calls, and not over a connection of its own."""
        await asyncio.get_running_loop().create_connection(self._answered, sock=way)

    def _calling(self, node: str) -> Connection:
        return self._connection(self._channel(self._hive, None, initiator=True, remote=node), dialed=True)

    def _answered(self) -> Connection:
        return self._connection(self._channel(self._hive, self._secret, initiator=False), dialed=False)

    def _connection(self, channel: Channel, *, dialed: bool) -> Connection:
        return Connection(
            self,
            channel,
            arrivals=self._arrivals,
            dialed=dialed,
            limits=self._limits,
            timing=self._timing,
        )

    def _channel(
        self, hive: str, psk: bytes | None, *, initiator: bool, remote: str | None = None
    ) -> Channel:
        return Channel(
            self._seed,
            self.node,
            hive,
            initiator=initiator,
            ephemeral=os.urandom(32),
            remote=remote,
            psk=psk,
        )

    def _cut_all(self, reason: str) -> None:
        for stranger in tuple(self._strangers):
            stranger.abort(reason)
        for node, link in tuple(self._links.items()):
            self._give_up(node, link, reason)

    def _give_up(self, node: str, link: Link, reason: str) -> None:
        self.dropped += link.empty(_no_way(node, reason))
        if link.dialing:
            link.dialing.cancel()
        if link.connection:
            link.connection.abort(reason)
        self._forget(node, link)

    def _forget(self, node: str, link: Link) -> None:
        if link.forgotten and self._links.get(node) is link:
            del self._links[node]


def _let_go_of_silent(contact: Connection) -> None:
    if not contact.busy:
        contact.abort("nothing was said in the first contact")


def _no_way(node: str, reason: str) -> Unavailable:
    return Unavailable(f"there is no way to node {node[:8]}: {reason}", hint="see whether it runs")


def _no_answer(node: str, timeout: float) -> Unavailable:
    return Unavailable(f"node {node[:8]} gave no answer within {timeout:g} s", hint="try again")
