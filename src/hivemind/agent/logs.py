"""The log of an allocation: that of all its instances, one after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from hivemind.agent.work.unit import Role, Unit
from hivemind.drivers.runtimes.contract import LogLine, LogQuery, Runtime
from hivemind.errors import NotFound

if TYPE_CHECKING:
    from hivemind.agent.work.worker import Worker


class Source(Protocol):
    """Whose log it is."""

    @property
    def containers(self) -> list[str]: ...

    @property
    def over(self) -> bool: ...

    async def changed(self) -> None: ...


class UnitLog:
    """The log of one container of an allocation."""

    def __init__(self, worker: Worker, unit: Unit) -> None:
        self._worker = worker
        self._unit = unit

    @property
    def containers(self) -> list[str]:
        return self._unit.containers

    @property
    def over(self) -> bool:
        """No further instance will come."""
        done = self._unit.role is Role.INIT and self._worker.charge.begun
        return self._worker.over or done

    async def changed(self) -> None:
        await self._worker.changed()


async def read_logs(source: Source, runtime: Runtime, query: LogQuery) -> AsyncIterator[LogLine]:
    """In order. With `tail` the last so many lines over all instances; with `follow` until no instance can come."""
    shown: set[str] = set()
    if query.tail is not None:
        last = await _last(source, runtime, replace(query, follow=False))
        for line in last:
            yield line
        if not query.follow:
            return
        shown = set(source.containers[:-1])
        # With no line wanted, the newest instance is followed from its end; otherwise from behind the last one.
        query = replace(
            query, tail=None if query.tail else 0, since=last[-1].time + 1 if last else query.since
        )
    while True:
        for container in [id for id in source.containers if id not in shown]:
            shown.add(container)
            async for line in read_instance(runtime, container, query):
                yield line
            query = replace(query, tail=None)
        if not query.follow:
            return
        while all(id in shown for id in source.containers):
            if source.over:
                return
            await source.changed()


async def _last(source: Source, runtime: Runtime, query: LogQuery) -> list[LogLine]:
    """The last `query.tail` lines, taken from the newest instance first."""
    wanted = query.tail or 0
    lines: list[LogLine] = []
    for container in reversed(source.containers):
        if len(lines) >= wanted:
            break
        asked = replace(query, tail=wanted - len(lines))
        lines = [line async for line in read_instance(runtime, container, asked)] + lines
    return lines


async def read_instance(runtime: Runtime, container: str, query: LogQuery) -> AsyncIterator[LogLine]:
    """Nothing for an instance that was removed meanwhile."""
    try:
        async for line in runtime.logs(container, query):
            yield line
    except NotFound:
        return
