"""Calling a node: at each of its addresses, and then by a third node that can reach it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from hivemind.errors import Unavailable
from hivemind.transport.connection import Connection, Timing
from hivemind.transport.contract import Address
from hivemind.transport.link import Bounds, Link


class Dialer:
    """`call` makes a connection that is to reach that node, not yet over anything. `around` gives another way to a
    node that answers at none of its addresses, None if there is no third one to ask; it may raise `Unavailable`."""

    def __init__(
        self,
        call: Callable[[str], Connection],
        around: Callable[[str], Awaitable[socket.socket | None]],
        timing: Timing,
        bounds: Bounds,
    ) -> None:
        self._call, self._around = call, around
        self._timing, self._bounds = timing, bounds
        self._under_way = asyncio.Semaphore(bounds.dials)

    async def dial(self, node: str, link: Link) -> str:
        """Why there is no connection, unless `link` has one then."""
        await asyncio.sleep(link.not_before - asyncio.get_running_loop().time())
        reason = "nobody knows where it is"
        async with self._under_way:
            for address in link.to_try():
                reason = await self._dial_one(node, link, address)
                if link.connection:
                    link.worked(address)
                    break
            else:
                reason = await self._dial_around(node, link, reason)
        return reason

    async def _dial_around(self, node: str, link: Link, reason: str) -> str:
        try:
            way = await self._around(node)
        except Unavailable as error:
            return f"{reason}; {error.message}"
        return await self._dial_one(node, link, way) if way else reason

    async def _dial_one(self, node: str, link: Link, address: Address | socket.socket) -> str:
        loop = asyncio.get_running_loop()
        connection = link.candidate = self._call(node)
        try:
            async with asyncio.timeout(self._timing.connect):
                if isinstance(address, socket.socket):
                    await loop.create_connection(lambda: connection, sock=address)
                else:
                    await loop.create_connection(lambda: connection, *address)
            await connection.settled()
            if connection.mine_preferred:
                async with asyncio.timeout(self._bounds.preferred):
                    await loop.create_future()  # That call ends this task when it comes.
        except TimeoutError:
            connection.abort(f"nobody answers at {_shown(address)}")
        except OSError as error:
            connection.abort(f"{_shown(address)}: {error.strerror or error}")
        except BaseException:
            connection.abort("it is not needed any more")
            raise
        return connection.reason


def _shown(address: Address | socket.socket) -> str:
    return "the end of a detour" if isinstance(address, socket.socket) else f"{address[0]}:{address[1]}"
