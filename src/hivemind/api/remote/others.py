"""What other nodes say for an answer that is put together of several: logs, figures, lists of what tasks left.

A node that cannot be asked costs the answer only its own part, and is named in it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec

from hivemind.api.endpoint import Call
from hivemind.api.remote.bridge import refused
from hivemind.drivers.runtimes.contract import LogQuery
from hivemind.errors import Invalid, Unavailable
from hivemind.model.allocation import Allocation
from hivemind.model.answers import LogEntry

T = TypeVar("T")
_AGAIN = 1.0
"""Seconds until a node whose log is followed is tried again."""
_PATIENCE = 8.0
"""Seconds that a node may take for its part of an answer that has an end."""
_LARGEST = 64 * 2**20
_entries = msgspec.json.Decoder(LogEntry)


class Others:
    """For one request. Whoever asks through another node wants only what this one has."""

    def __init__(self, call: Call) -> None:
        self._call, self._remote = call, call.backend.remote
        self._asks = not call.caller.through
        self._missing: dict[str, Unavailable] = {}

    def has(self, node: str) -> bool:
        return self._asks and node not in ("", self._remote.node)

    @property
    def missing(self) -> list[str]:
        """Who could not be asked, for people."""
        return [self._missing[node].message for node in sorted(self._missing, key=self._remote.name)]

    # -- whole answers ---------------------------------------------------------------------------------------

    async def ask(self, nodes: list[str], target: str, type: type[T]) -> list[T]:
        """What they answer to a GET, of those that can be asked. Raises what one refuses it with."""

        async def one(node: str) -> T | None:
            try:
                async with asyncio.timeout(_PATIENCE), aclosing(self._get(node, target)) as pieces:
                    body = b""
                    async for piece in pieces:
                        body += piece
                        if len(body) > _LARGEST:
                            raise Unavailable("it says too much")
                return msgspec.json.decode(body, type=type)
            except (Unavailable, TimeoutError, msgspec.MsgspecError, ValueError):
                self._missing[node] = self._remote.unreachable(node)
                return None

        answers = await asyncio.gather(*(one(node) for node in nodes if self.has(node)))
        return [answer for answer in answers if answer is not None]

    # -- logs ------------------------------------------------------------------------------------------------

    async def log(
        self, allocation: Allocation, query: LogQuery, *, grep: str = "", container: str = "", previous: bool = False
    ) -> AsyncGenerator[LogEntry]:  # fmt: skip
        """Its lines. That its node cannot be asked is a line, too, the first time. One that is followed is asked
        again from where it broke off, as long as the allocation lives. Raises `NotFound` when there is no log."""
        node, moment, told = allocation.node, query.since, 0
        while True:
            skipped = 0
            try:
                if node in self._missing and not query.follow:
                    return
                target = _target(allocation, query, moment, grep=grep, container=container, previous=previous)
                async with aclosing(self._lines(node, target, live=query.follow)) as lines:
                    async for entry in lines:
                        self._missing.pop(node, None)
                        if allocation.for_job and entry.allocation != allocation.id:
                            continue
                        if entry.time == moment and skipped < told:
                            skipped += 1
                            continue
                        told = told + 1 if entry.time == moment else 1
                        moment = entry.time
                        yield entry
                return
            except Unavailable:
                lost = self._remote.unreachable(node)
                if node not in self._missing:
                    yield _notice(lost, allocation)
                self._missing[node] = lost
                known = self._call.state.allocations.get(allocation.id)
                if not query.follow or known is None or not known.live:
                    return
            await asyncio.sleep(_AGAIN)

    async def _lines(self, node: str, target: str, *, live: bool) -> AsyncGenerator[LogEntry]:
        rest = b""
        async with aclosing(self._listen(node, target) if live else self._get(node, target)) as pieces:
            async for piece in pieces:
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    try:
                        yield _entries.decode(line)
                    except (msgspec.MsgspecError, ValueError):
                        raise Invalid(
                            f"node {self._remote.name(node)} sends lines that cannot be read"
                        ) from None

    # -- requests --------------------------------------------------------------------------------------------

    async def _get(self, node: str, target: str) -> AsyncGenerator[bytes]:
        """Raises the error that the node answers with; `Unavailable` when it goes away before the end."""
        exchange = await self._remote.ask(node, self._call.identity, "GET", target, [])
        try:
            await exchange.send({"type": "http.request", "body": b"", "more_body": False})
            start = await exchange.receive()
            if start is None or start["type"] != "http.response.start":
                raise Unavailable("it says nothing")
            if start.get("status") != 200:
                raise await refused(exchange, start)
            while (event := await exchange.receive()) is not None:
                yield event.get("body", b"")
                if not event.get("more_body", False):
                    await exchange.receive()
                    return
            raise Unavailable("it broke off")
        finally:
            await exchange.close()

    async def _listen(self, node: str, target: str) -> AsyncGenerator[bytes]:
        """The messages of a WebSocket. Raises as `_get`."""
        exchange = await self._remote.ask(node, self._call.identity, "WEBSOCKET", target, [])
        try:
            await exchange.send({"type": "websocket.connect"})
            while (event := await exchange.receive()) is not None:
                if event["type"].endswith("http.response.start"):
                    raise await refused(exchange, event)
                if event["type"] == "websocket.send":
                    yield event.get("bytes") or (event.get("text") or "").encode()
                elif event["type"] == "websocket.close":
                    if event.get("code", 1000) == 1000:
                        return
                    break
            raise Unavailable("it broke off")
        finally:
            with suppress(Unavailable):
                await exchange.send({"type": "websocket.disconnect", "code": 1000})
            await exchange.close()


def _target(
    allocation: Allocation, query: LogQuery, since: int, *, grep: str, container: str, previous: bool
) -> str:
    """An attempt that has ended is not in state any more: then its node is asked for its task's."""
    asked: dict[str, str | int] = {"since": since, "until": query.until, "grep": grep, "container": container}
    if query.tail is not None:
        asked["tail"] = query.tail
    if previous:
        asked["previous"] = "true"
    project = f"/v1/projects/{quote(allocation.project, safe='')}"
    path = f"{project}/allocations/{allocation.id}/logs"
    if allocation.for_job and not query.follow:
        path = f"{project}/runs/{allocation.run}/logs"
        asked.pop("container")
        asked |= {"task": allocation.path, "attempt": allocation.attempt}
    return f"{path}?{urlencode({name: value for name, value in asked.items() if value not in ('', 0)})}"


def _notice(error: Unavailable, allocation: Allocation) -> LogEntry:
    return LogEntry(
        time=time.time_ns(), stream="notice", text=error.message, allocation=allocation.id, slot=allocation.slot,
        path=allocation.path,
    )  # fmt: skip
