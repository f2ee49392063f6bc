"""Connections through a third node, between two that cannot reach each other.

Over a stream to the third one, and another from there, goes what would go over TCP: the handshake and everything after
it is between the two ends, so the one in between sees nothing but that they talk, and how much. It carries only
between nodes of the hive to which it has a connection of its own; for so many at once, and so fast.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections import Counter
from collections.abc import Awaitable, Callable

import msgspec

from hivemind.errors import HivemindError, Unavailable
from hivemind.transport.contract import Stream
from hivemind.transport.peers import TcpPeers

_logger = logging.getLogger(__name__)
SERVICE = "relay"
CARRIED = "carried"
_READY = b"ready"
_PIECE = 64 * 1024
_ID_BYTES = 32
_BURST = 0.25
"""Seconds of its rate that may go at once."""


class Limits(msgspec.Struct, frozen=True):
    """Of what one node does for others. Times are seconds."""

    carried: int = 64
    """Connections at once."""
    of_node: int = 8
    """Of those, for one node that asks."""
    rate: float = 8 * 1024 * 1024
    """Bytes a second of one connection, each way."""
    asked: int = 3
    """Third nodes that are asked, one after the other."""
    patience: float = 5.0


class Relay:
    """Carries for others, and makes `peers` go around when there is no direct way. `tap` sees what is carried."""

    def __init__(
        self,
        peers: TcpPeers,
        *,
        limits: Limits = Limits(),  # noqa: B008 - it is frozen
        tap: Callable[[bytes], None] = lambda piece: None,
    ) -> None:
        self.through: dict[str, str] = {}
        """Nodes that are reached through another one, and through which."""
        self.carried: Counter[str] = Counter()
        """Connections that go through here, by the node that asked."""
        self._peers, self._limits, self._tap = peers, limits, tap
        self._pumps: set[asyncio.Task[None]] = set()
        self._undo: list[Callable[[], None]] = []

    def start(self) -> None:
        self._peers.detour = self._go_around
        self._undo = [
            self._peers.accept(SERVICE, self._carry),
            self._peers.accept(CARRIED, self._arrive),
            self._peers.on_connection(self._connected),
        ]

    async def close(self) -> None:
        self._peers.detour = None
        for undo in self._undo:
            undo()
        for pump in tuple(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def _connected(self, node: str, connected: bool) -> None:
        if not connected:
            self.through.pop(node, None)

    # -- at the two ends ---------------------------------------------------------------------------------------

    async def _go_around(self, node: str) -> socket.socket:
        """One end of what leads to that node. Raises `Unavailable`."""
        third = [each for each in self._peers.connected if each != node and each not in self.through]
        why = "and nobody else is connected"
        for each in random.sample(sorted(third), min(len(third), self._limits.asked)):
            try:
                stream = await self._peers.open(each, SERVICE, timeout=self._limits.patience)
                await stream.send(bytes.fromhex(node))
                async with asyncio.timeout(self._limits.patience):
                    if await stream.receive() == _READY:
                        self.through[node] = each
                        return self._end_of(stream)
                why = "and it could not be carried"
            except (HivemindError, TimeoutError) as error:
                why = error.message if isinstance(error, HivemindError) else "nobody carries it in time"
        raise Unavailable(why)

    async def _arrive(self, stream: Stream) -> None:
        """Somebody calls through a third node: who that is, it proves to `peers` as every caller does."""
        here, there = socket.socketpair()
        await self._peers.answer_over(there)
        await self._pump(here, stream)

    def _end_of(self, stream: Stream) -> socket.socket:
        here, there = socket.socketpair()
        task = asyncio.get_running_loop().create_task(self._pump(here, stream))
        self._pumps.add(task)
        task.add_done_callback(self._pumps.discard)
        return there

    async def _pump(self, end: socket.socket, stream: Stream) -> None:
        """Until either side has ended: a connection has no half that could go on."""
        reader, writer = await asyncio.open_connection(sock=end)

        async def outward() -> None:
            while piece := await reader.read(_PIECE):
                await stream.send(piece)

        async def inward() -> None:
            while (piece := await stream.receive()) is not None:
                writer.write(piece)
                await writer.drain()

        try:
            await _first_of(outward(), inward())
        finally:
            writer.transport.abort()
            await stream.close()

    # -- in between --------------------------------------------------------------------------------------------

    async def _carry(self, stream: Stream) -> None:
        wish = await stream.receive()
        node = (wish or b"").hex()
        if len(node) != 2 * _ID_BYTES or node not in self._peers.connected or node in self.through:
            raise Unavailable("this node is not connected to that one either")
        limits = self._limits
        if self.carried.total() >= limits.carried or self.carried[stream.peer] >= limits.of_node:
            raise Unavailable("this node carries as much as it may", hint="ask another one")
        self.carried[stream.peer] += 1
        onward: Stream | None = None
        try:
            onward = await self._peers.open(node, CARRIED, timeout=limits.patience)
            await stream.send(_READY)
            _logger.info("node %s is carried to node %s", stream.peer[:8], node[:8])
            await _first_of(self._pass(stream, onward), self._pass(onward, stream))
        finally:
            self.carried[stream.peer] -= 1
            self.carried += Counter()  # without those that are none
            if onward:
                await onward.close()

    async def _pass(self, source: Stream, target: Stream) -> None:
        """As fast as it may: who sends more waits."""
        loop = asyncio.get_running_loop()
        free_at = loop.time()
        while (piece := await source.receive()) is not None:
            self._tap(piece)
            await target.send(piece)
            free_at = max(free_at, loop.time()) + len(piece) / self._limits.rate
            if (ahead := free_at - loop.time()) > _BURST:
                await asyncio.sleep(ahead)


async def _first_of(*work: Awaitable[None]) -> None:
    """Whichever ends first, or breaks, ends all."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception) and not isinstance(ended, HivemindError | OSError):
                _logger.error("carrying between nodes failed", exc_info=ended)
