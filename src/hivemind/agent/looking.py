"""What people look at of what runs on this node, beyond commands, logs and figures (which are the agent's own).

Whoever wants every byte of a container's output says so before there is a container: `expect` its app, then make
it. The worker offers each container that it has made, and not yet started, to those who expect one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hivemind.agent.logs import read_instance
from hivemind.drivers.runtimes.contract import (
    ExecSession,
    FileChange,
    LogLine,
    LogQuery,
    ProcessInfo,
    Runtime,
    Stats,
    Status,
)
from hivemind.errors import Conflict, HivemindError, NotFound, Unavailable
from hivemind.model.allocation import Allocation, AllocationStatus

if TYPE_CHECKING:
    from hivemind.agent.agent import Agent

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Expected = asyncio.Future[ExecSession]
_CONNECT = 10.0
"""Seconds that a port may take to accept."""


class Looking:
    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._expected: dict[tuple[str, str], list[Expected]] = {}

    async def attach(self, allocation: str, container: str = "") -> ExecSession:
        runtime, id = self._agent.running(allocation, container)
        return await runtime.attach(id)

    @contextmanager
    def expect(self, project: str, app: str) -> Iterator[Expected]:
        """The session of the next container of its own that the app starts on this node, attached before it starts."""
        coming: Expected = asyncio.get_running_loop().create_future()
        waiting = self._expected.setdefault((project, app), [])
        waiting.append(coming)
        try:
            yield coming
        finally:
            if coming in waiting:
                waiting.remove(coming)
            if not waiting:
                self._expected.pop((project, app), None)
            coming.cancel()

    async def offer(self, allocation: Allocation, runtime: Runtime, container: str) -> None:
        """A container that was created and not started. What goes wrong is told to those who expected it."""
        for coming in self._expected.pop((allocation.project, allocation.app_name), []):
            try:
                session = await runtime.attach(container)
            except HivemindError as error:
                if not coming.done():
                    coming.set_exception(error)
                continue
            if coming.done():
                await session.close()
            else:
                coming.set_result(session)

    async def processes(self, allocation: str, container: str = "") -> list[ProcessInfo]:
        runtime, id = self._agent.running(allocation, container)
        return await runtime.processes(id)

    async def changes(self, allocation: str, container: str = "") -> list[FileChange]:
        runtime, id = self._newest(allocation, container)
        return await runtime.changes(id)

    def read_files(self, allocation: str, path: str, container: str = "") -> AsyncIterator[bytes]:
        runtime, id = self._newest(allocation, container)
        return runtime.read_files(id, path)

    async def write_files(
        self, allocation: str, path: str, chunks: AsyncIterator[bytes], container: str = ""
    ) -> None:
        runtime, id = self._newest(allocation, container)
        await runtime.write_files(id, path, chunks)

    def previous_logs(self, allocation: str, query: LogQuery, container: str = "") -> AsyncIterator[LogLine]:
        """Of the instance that ended last. Raises `NotFound` when there is none."""
        worker, unit = self._agent.unit(allocation, container)
        ended = [c for _, c in sorted(unit.instances.items()) if c.status is Status.EXITED]
        if not ended:
            raise NotFound(
                f"allocation {allocation} has no earlier instance",
                hint="it has not been restarted, or its log is not kept any more",
            )
        return read_instance(worker.runtime, ended[-1].id, query)

    async def connect(self, allocation: str, port: int) -> Streams:
        """A connection to a port of the allocation."""
        self._agent.running(allocation)
        target = _address(self._agent.last_status(allocation), port)
        try:
            async with asyncio.timeout(_CONNECT):
                return await asyncio.open_connection(*target)
        except TimeoutError:
            raise Unavailable(
                f"port {port} of allocation {allocation} does not answer", hint="is it listening there?"
            ) from None
        except OSError as error:
            raise Conflict(
                f"nothing accepts connections at port {port} of allocation {allocation} ({error.strerror or error})",
                hint="it must listen on its own address (0.0.0.0), not only on 127.0.0.1",
            ) from None

    async def stats(self) -> dict[tuple[str, str], Stats]:
        """Of every running container of this node, by allocation and companion (empty: the app's own)."""

        async def one(allocation: str, container: str) -> tuple[tuple[str, str], Stats] | None:
            try:
                return (allocation, container), await self._agent.stats(allocation, container)
            except HivemindError:  # it ended between the two questions
                return None

        found = await asyncio.gather(*(one(*each) for each in self._agent.running_containers()))
        return dict(each for each in found if each is not None)

    def _newest(self, allocation: str, container: str) -> tuple[Runtime, str]:
        """Also one that has ended: a runtime that keeps its files can still tell them."""
        if (attempt := self._agent.attempts.get(allocation)) and (made := attempt.made):
            return made
        worker, unit = self._agent.unit(allocation, container)
        if not unit.containers:
            raise Conflict(
                f"allocation {allocation} has no container yet", hint="hivemind ps -a shows what it waits for"
            )
        return worker.runtime, unit.containers[-1]


def _address(status: AllocationStatus | None, port: int) -> tuple[str, int]:
    """On the node's own loopback only the ports that it declared are its own: a port-forward must not reach what else
    listens there. Raises `Conflict`."""
    if status is None or not status.ip:
        raise Conflict(
            "the app has no network, so no port of it can be reached", hint="leave out --network none"
        )
    answering = status.ports.get(f"{port}/tcp")
    if answering is None and status.ip.startswith("127."):
        raise Conflict(
            f"the app shares the node's network and declares no port {port}",
            hint=f"declare it: --port {port}",
        )
    return status.ip, answering or port
