"""Asking around on the local network: every node of a hive hears the same group of IPv4, which no router passes on
(224.0.0.254, RFC 4727). What is said is sealed for the hive and signed, as all datagrams are: others on that network
see that somebody speaks, and neither for which hive nor where it is."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import time
from typing import Annotated, Any

import msgspec

from hivemind.protocols.datagram import Sealer
from hivemind.protocols.kademlia.ids import usable
from hivemind.security.identity import Identity, verify
from hivemind.transport.contract import Address
from hivemind.transport.discovery.contract import Finder

_logger = logging.getLogger(__name__)
GROUP = "224.0.0.254"
PORT = 7947
_KIND = "lan"
_FIRST = (0.0, 0.5, 2.0)
"""Seconds after the start: who begins at the same moment may not listen yet."""
_EVERY = 60.0
_ANSWER = 0.3
"""A newcomer is answered within so many seconds; not by all at once."""
_MOST = 4


class Here(msgspec.Struct, frozen=True, array_like=True):
    addresses: Annotated[tuple[Address, ...], msgspec.Meta(max_length=_MOST)]


_decoder: msgspec.msgpack.Decoder[Here] = msgspec.msgpack.Decoder(Here)


class Multicast(asyncio.DatagramProtocol):
    """`addresses`: where this node is; it speaks and hears on the network of the first one."""

    def __init__(
        self, identity: Identity, hive: str, secret: bytes, addresses: tuple[Address, ...], port: int = PORT
    ) -> None:
        self._sealer = Sealer(identity, verify, hive, secret)
        self._here = msgspec.msgpack.encode(Here(addresses[:_MOST]))
        self._interface, self._port = addresses[0][0], port
        self._transport: asyncio.DatagramTransport | None = None
        self._finder: Finder | None = None
        self._timers: set[asyncio.TimerHandle] = set()
        self._known: set[str] = set()
        self._answering = False

    async def start(self, finder: Finder) -> None:
        self._finder = finder
        loop = asyncio.get_running_loop()
        try:
            listening = self._socket()
        except (OSError, ValueError) as error:
            _logger.warning("nodes on the local network are not looked for: %s", error)
            return
        await loop.create_datagram_endpoint(lambda: self, sock=listening)
        for after in _FIRST:
            self._later(after, self._speak)
        self._later(_EVERY, self._go_on)

    def close(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self._transport:
            self._transport.abort()
            self._transport = None

    def _socket(self) -> socket.socket:
        """Bound to the group, so that nothing else that is sent to this port is heard."""
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            interface = socket.inet_aton(self._interface)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((GROUP, self._port))
            made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + interface)
            made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
            made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
            made.setblocking(False)
        except BaseException:
            made.close()
            raise
        return made

    def _later(self, after: float, act: Any) -> None:
        def due() -> None:
            self._timers.discard(timer)
            act()

        timer = asyncio.get_running_loop().call_later(after, due)
        self._timers.add(timer)

    def _go_on(self) -> None:
        self._speak()
        self._later(random.uniform(0.8, 1.2) * _EVERY, self._go_on)

    def _speak(self) -> None:
        self._answering = False
        if self._transport:
            packet = self._sealer.seal(_KIND, self._here, _wall(), os.urandom(24))
            self._transport.sendto(packet, (GROUP, self._port))

    # What asyncio calls.

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, packet: bytes, source: Address) -> None:
        came = self._sealer.open(packet, _wall())
        if came is None or came.kind != _KIND or self._finder is None:
            return
        try:
            here = _decoder.decode(came.message)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return
        addresses = tuple(address for address in here.addresses if usable(address))
        if came.sender not in self._known and not self._answering:
            self._answering = True
            self._later(random.uniform(0, _ANSWER), self._speak)
        self._known.add(came.sender)
        if addresses:
            self._finder.found(came.sender, addresses)
            self._finder.perhaps(addresses)

    def error_received(self, error: Exception) -> None:
        _logger.debug("on the local network: %s", error)


def _wall() -> int:
    return time.time_ns() // 1_000
