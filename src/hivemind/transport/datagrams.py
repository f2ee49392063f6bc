"""Datagrams over UDP; what they look like is `protocols.datagram`'s."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from hivemind.errors import Invalid, Unavailable
from hivemind.protocols.datagram import LARGEST_MESSAGE, Sealer
from hivemind.security.identity import Identity, verify
from hivemind.transport.contract import Address
from hivemind.transport.services import register
from hivemind.transport.stream import too_large

_logger = logging.getLogger(__name__)
_UNSENT = 256 * 1024
"""Bytes that may wait for the kernel to take them."""

Hear = Callable[[Address, str, bytes], None]


def _wall() -> int:
    return time.time_ns() // 1_000


class UdpDatagrams(asyncio.DatagramProtocol):
    """Keeps `contract.Datagrams`. `wall`: microseconds since 1970."""

    def __init__(self, identity: Identity, wall: Callable[[], int] = _wall) -> None:
        self.node = identity.public
        self._dropped: Counter[str] = Counter()
        self._identity, self._wall = identity, wall
        self._sealer: Sealer | None = None
        self._sealing: tuple[str, bytes | None] = ("", None)
        self._handlers: dict[str, Hear] = {}
        self._transport: asyncio.DatagramTransport | None = None
        self._paused = False

    async def start(self, host: str, port: int) -> None:
        """Listens there and nowhere else; port 0: any free one. Raises `Unavailable`."""
        if not host:  # To asyncio that means every address.
            raise Invalid("there is no address to listen at for datagrams", hint="say which one")
        loop = asyncio.get_running_loop()
        try:
            await loop.create_datagram_endpoint(lambda: self, local_addr=(host, port))
        except OSError as error:
            raise Unavailable(
                f"cannot listen for datagrams on {host}:{port}: {error.strerror}",
                hint="end what listens there, or choose another port",
            ) from None

    def close(self) -> None:
        if self._transport:
            self._transport.abort()
            self._transport = None

    @property
    def address(self) -> Address:
        assert self._transport is not None, "it was started"
        host, port = self._transport.get_extra_info("sockname")[:2]
        return host, port

    @property
    def dropped(self) -> Counter[str]:
        """How many datagrams were neither sent nor heard, by reason."""
        return self._dropped + (self._sealer.dropped if self._sealer else Counter())

    def enter(self, hive: str, secret: bytes | None) -> None:
        if (hive, secret) == self._sealing:
            return
        self._sealing = (hive, secret)
        if self._sealer:
            self._dropped += self._sealer.dropped
        self._sealer = Sealer(self._identity, verify, hive, secret) if secret else None

    def send(self, to: Address, kind: str, message: bytes) -> None:
        if len(message) > LARGEST_MESSAGE:
            raise too_large("a datagram", len(message), LARGEST_MESSAGE)
        if self._sealer is None or self._transport is None or self._paused:
            self._dropped["unsent"] += 1
            return
        self._transport.sendto(self._sealer.seal(kind, message, self._wall(), os.urandom(24)), to)

    def on_datagram(self, kind: str, handler: Hear) -> Callable[[], None]:
        return register(self._handlers, kind, handler)

    # What asyncio calls.

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.set_write_buffer_limits(high=_UNSENT)

    def datagram_received(self, packet: bytes, source: Address) -> None:
        if self._sealer is None:
            self._dropped["no secret yet"] += 1
            return
        if (came := self._sealer.open(packet, self._wall())) is None:
            return
        if (handler := self._handlers.get(came.kind)) is None:
            self._dropped["unheard"] += 1
            return
        try:
            handler(source[:2], came.sender, came.message)
        except Exception:
            _logger.exception("a datagram of node %s to %s", came.sender[:8], came.kind)

    def error_received(self, error: Exception) -> None:
        self._dropped["unreachable"] += 1

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
