"""Published ports whose replicas all run on other nodes: connections are carried there, over the sealed connections
that the nodes have anyway.

On this side there is a listener for each such port, known to nobody but the network that publishes it. The node of
the replica carries on only what it would publish itself: a declared TCP port of a replica that is live there. A
connection goes to one of the replicas that are ready, and to another one if that cannot be reached.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Protocol

import msgspec

from hivemind.drivers.network.contract import Backend, Published
from hivemind.errors import HivemindError, Unavailable
from hivemind.state.state import State
from hivemind.transport.contract import Stream

log = logging.getLogger(__name__)
_SERVICE = "port"
_BLOCK = 2**16
_OPEN = 3.0
"""Seconds that another node may take to connect."""
_FIRST = 5.0
_AT_ONCE = 1_000
"""Connections that are carried at a time, each way."""
_OF_ONE = 250
"""Of those that come here, from one node: none takes it from all others."""
_CONNECTED = b"\1"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Target(msgspec.Struct, frozen=True, order=True):
    """One replica. `port`: as its app declares it."""

    node: str
    allocation: str
    port: int


class Links(Protocol):
    """What is needed of `transport.contract.Peers`."""

    async def open(self, to: str, service: str, *, timeout: float) -> Stream: ...

    def accept(self, service: str, handler: Callable[[Stream], Awaitable[None]]) -> Callable[[], None]: ...


class Wish(msgspec.Struct, frozen=True, array_like=True):
    """The first message; `_CONNECTED` answers it."""

    allocation: str
    port: int


Place = tuple[str, Published]
"""The address to listen at, and which port it is for."""


class Relays:
    def __init__(self, node: str, state: State) -> None:
        self._node, self._state = node, state
        self.reach: Callable[[str, int], Awaitable[Streams]] = _nothing_runs
        """Connects to a port of an allocation of this node."""
        self._links: Links | None = None
        self._undo: Callable[[], None] = lambda: None
        self._listening: dict[Place, _Listener] = {}
        self._carried: Counter[str] = Counter()
        """What comes here, by the node from which."""
        self._tasks: set[asyncio.Task[None]] = set()

    def connect(self, links: Links) -> None:
        self.disconnect()
        self._links = links
        self._undo = links.accept(_SERVICE, self._serve)

    def disconnect(self) -> None:
        self._undo()
        self._links, self._undo = None, lambda: None

    async def close(self) -> None:
        """Whatever is carried breaks off."""
        await self.keep({})
        self.disconnect()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- from here -------------------------------------------------------------------------------------------

    async def keep(self, wanted: Mapping[Place, tuple[Target, ...]]) -> dict[Place, Backend]:
        """Listens for exactly these, and says where. What cannot be listened for is left out."""
        for place in self._listening.keys() - wanted.keys():
            self._listening.pop(place).close()
        for place, targets in wanted.items():
            listener = self._listening.get(place)
            if listener is None:
                listener = _Listener(self._carry)
                try:
                    await listener.open(place[0])
                except OSError as error:
                    log.warning("port %d cannot be relayed: %s", place[1].port, error)
                    continue
                self._listening[place] = listener
            listener.targets = targets
        return {place: listener.backend for place, listener in self._listening.items()}

    async def _carry(self, targets: tuple[Target, ...], streams: Streams) -> None:
        task = asyncio.current_task()
        if task is None or len(self._tasks) >= _AT_ONCE:
            return
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        stream = await self._opened(random.sample(targets, len(targets)))
        if stream is not None:
            try:
                await _pump(stream, *streams)
            finally:
                await stream.close()

    async def _opened(self, targets: list[Target]) -> Stream | None:
        """To the first that can be reached."""
        for target in targets:
            if self._links is None:
                return None
            stream = None
            try:
                stream = await self._links.open(target.node, _SERVICE, timeout=_OPEN)
                await stream.send(msgspec.msgpack.encode(Wish(target.allocation, target.port)))
                async with asyncio.timeout(_OPEN):
                    if await stream.receive() == _CONNECTED:
                        return stream
            except (HivemindError, TimeoutError) as error:
                log.debug("allocation %s is not reached: %s", target.allocation, error)
            if stream is not None:
                await stream.close()
        return None

    # -- to here ---------------------------------------------------------------------------------------------

    async def _serve(self, stream: Stream) -> None:
        if self._carried.total() >= _AT_ONCE or self._carried[stream.peer] >= _OF_ONE:
            return
        self._carried[stream.peer] += 1
        try:
            async with asyncio.timeout(_FIRST):
                first = await stream.receive()
            wish = msgspec.msgpack.decode(first or b"", type=Wish)
            if not self._may(wish):
                return
            reader, writer = await self.reach(wish.allocation, wish.port)
            try:
                await stream.send(_CONNECTED)
                await _pump(stream, reader, writer)
            finally:
                writer.close()
        except (HivemindError, TimeoutError, msgspec.MsgspecError, ValueError) as error:
            log.debug("node %s is not served: %s", stream.peer[:12], error)
        finally:
            self._carried[stream.peer] -= 1
            self._carried += Counter()  # without those that are none

    def _may(self, wish: Wish) -> bool:
        """Only what this node publishes itself."""
        allocation = self._state.allocations.get(wish.allocation)
        if allocation is None or allocation.node != self._node or not allocation.live or allocation.for_job:
            return False
        ports = self._state.spec_of(allocation).ports
        return any(p.host and p.protocol == "tcp" and p.container == wish.port for p in ports)


async def _nothing_runs(allocation: str, port: int) -> Streams:
    raise Unavailable("this node is starting", hint="ask again in a moment")


class _Listener:
    def __init__(self, carry: Callable[[tuple[Target, ...], Streams], Awaitable[None]]) -> None:
        self.targets: tuple[Target, ...] = ()
        self.backend: Backend = ("", 0)
        self._carry = carry
        self._server: asyncio.Server

    async def open(self, address: str) -> None:
        self._server = await asyncio.start_server(self._accepted, address, 0)
        self.backend = self._server.sockets[0].getsockname()[:2]

    def close(self) -> None:
        """Nothing new; what is carried goes on for as long as both sides want it."""
        self._server.close()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._carry(self.targets, (reader, writer))
        finally:
            writer.close()


async def _pump(stream: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until both sides have said all, or one is gone."""
    ways = [asyncio.ensure_future(_outward(reader, stream)), asyncio.ensure_future(_inward(stream, writer))]
    try:
        await asyncio.gather(*ways)
    except (HivemindError, OSError):
        pass
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _outward(reader: asyncio.StreamReader, stream: Stream) -> None:
    while data := await reader.read(_BLOCK):
        await stream.send(data)
    await stream.finish()


async def _inward(stream: Stream, writer: asyncio.StreamWriter) -> None:
    while (data := await stream.receive()) is not None:
        writer.write(data)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()
