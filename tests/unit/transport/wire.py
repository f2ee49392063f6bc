"""A TCP relay between two nodes that can freeze, cut and record what passes."""

from __future__ import annotations

import asyncio
from typing import Any

from hivemind.transport.contract import Address


class Wire:
    """Listens on `address` and passes everything on to `to`. Frozen, it keeps connections and passes nothing."""

    def __init__(self, to: Address) -> None:
        self.to = to
        self.address: Address = ("", 0)
        self.recorded: list[bytes] = []
        """For each connection, all that its caller said."""
        self._flows = asyncio.Event()
        self._flows.set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> Wire:
        self._server = await asyncio.start_server(self._called, "127.0.0.1", 0)
        self.address = self._server.sockets[0].getsockname()[:2]
        return self

    def freeze(self) -> None:
        self._flows.clear()

    def thaw(self) -> None:
        self._flows.set()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def close(self) -> None:
        self.cut()
        if self._server:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _called(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            other_reader, other_writer = await asyncio.open_connection(*self.to)
        except OSError:
            writer.transport.abort()
            return
        self._writers.append(other_writer)
        number = len(self.recorded)
        self.recorded.append(b"")
        for pair in ((reader, other_writer, number), (other_reader, writer, None)):
            task = asyncio.create_task(self._pass(*pair))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int | None
    ) -> None:
        try:
            while data := await reader.read(65_536):
                await self._flows.wait()
                if number is not None:
                    self.recorded[number] += data
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.transport.abort()
