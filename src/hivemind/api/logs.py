"""Logs: what was written, over all replicas in order of time; and what is being written, as it comes."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import AsyncExitStack, aclosing
from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType
from starlette.responses import Response
from starlette.websockets import WebSocket

from hivemind.api.backend import Backend
from hivemind.api.collection import home
from hivemind.api.endpoint import Answer, Call, Endpoint, encode_line
from hivemind.api.remote.others import Others
from hivemind.api.remote.places import of_allocation
from hivemind.api.streams import Streamed
from hivemind.api.views import find
from hivemind.drivers.runtimes.contract import LogLine, LogQuery
from hivemind.errors import Invalid, NotFound
from hivemind.model.allocation import ALLOCATION, Allocation
from hivemind.model.answers import STREAM_FORMAT, LogEntry
from hivemind.model.app import APP, App
from hivemind.model.base import Spec
from hivemind.model.pattern import Pattern

_NANOSECONDS = Meta(ge=0, le=2**63 - 1, description="nanoseconds since 1970; 0: no bound")


class LogsQuery(Spec, frozen=True, kw_only=True):
    tail: Annotated[int, Meta(ge=0, le=100_000, description="only the last so many lines")] | UnsetType = (
        UNSET
    )
    since: Annotated[int, _NANOSECONDS] = 0
    until: Annotated[int, _NANOSECONDS] = 0
    grep: Annotated[
        str,
        Meta(
            max_length=1000,
            description="only lines in which this regular expression is found; `tail` counts these",
        ),
    ] = ""
    previous: Annotated[
        bool, Meta(description="of the instance that ended last, before the one that runs")
    ] = False
    container: Annotated[str, Meta(max_length=63, description="a companion's name")] = ""


def log_endpoints() -> list[Endpoint]:
    made = []
    for resource, select, at in ((APP, _of_app, None), (ALLOCATION, _of_allocation, of_allocation)):
        path, noun = f"{home(resource)}/{{name}}/logs", resource.singular

        async def read(call: Call, select: Any = select) -> Response:
            return await _read(call, await select(call))

        async def live(call: Call, socket: WebSocket, select: Any = select) -> None:
            from hivemind.api.follow import follow

            await follow(call, socket, await select(call))

        made += [
            Endpoint(
                "GET",
                path,
                f"{resource.plural}.logs",
                f"What the {noun} wrote, oldest first. A WebSocket to the same address follows live.",
                read,
                (Answer(200, "One JSON object a line.", (LogEntry,), STREAM_FORMAT),),
                query=LogsQuery,
                errors=(NotFound,),
                at=at,
                gathers=at is None,
            ),
            Endpoint(
                "WEBSOCKET",
                path,
                f"{resource.plural}.follow",
                "Follow.",
                live,
                query=LogsQuery,
                errors=(NotFound,),
                at=at,
                gathers=at is None,
            ),
        ]
    return made


class Source:
    """Whose lines these are: those of one allocation, or of an app's as they come and go."""

    def __init__(self, backend: Backend, app: str, only: str = "") -> None:
        self.backend = backend
        self.app = app
        self.only = only

    def allocations(self) -> list[Allocation]:
        state = self.backend.state
        if self.only:
            found = state.allocations.get(self.only)
            return [found] if found else []
        return state.allocations_of(self.app)

    @property
    def over(self) -> bool:
        """Nothing will ever join again."""
        app = self.backend.state.apps.get(self.app)
        return bool(self.only) or app is None or app.deleted


async def _of_app(call: Call) -> Source:
    app: App = await find(call.backend, "App", call.project, call.params["name"])
    return Source(call.backend, app.id)


async def _of_allocation(call: Call) -> Source:
    allocation: Allocation = await find(call.backend, "Allocation", call.project, call.params["name"])
    _check_container(call, allocation, call.query.container)
    return Source(call.backend, allocation.app, allocation.id)


def _check_container(call: Call, allocation: Allocation, container: str) -> None:
    """One that has not started yet has no log, which is no error; one that there will never be is."""
    spec = call.state.spec_of(allocation)
    names = [companion.name for companion in (*spec.init_containers, *spec.sidecars)]
    if container and container not in names:
        raise NotFound(
            f"{allocation.app_name}.{allocation.slot} has no container {container!r}",
            hint=f"beside the app's own it has {', '.join(names)}" if names else "it has only the app's own",
        )


async def _read(call: Call, source: Source) -> Response:
    query: LogsQuery = call.query
    if query.until and query.until < query.since:
        raise Invalid("`until` is before `since`", hint="exchange them")
    read = reading(call)
    allocations = source.allocations()
    if query.previous:
        read = previous = Previous(call, query.container, query.grep)
        allocations = await previous.chosen(allocations)
    found = history(read, allocations, tail_of(query), query.since, query.until)
    first = await anext(found, None)  # what goes wrong at once is still told by the status
    return Streamed(_lines(first, found), media_type=STREAM_FORMAT)


async def _lines(first: LogEntry | None, rest: AsyncIterator[LogEntry]) -> AsyncIterator[bytes]:
    if first is not None:
        yield encode_line(first)
        async for entry in rest:
            yield encode_line(entry)


def tail_of(query: LogsQuery) -> int | None:
    return None if isinstance(query.tail, UnsetType) else query.tail


Marks = dict[str, tuple[int, int]]
"""Allocation -> time of the last line read, and how many lines of that very time were."""


class Reading:
    """How the log of one allocation is read: of which of its containers, and which lines."""

    def __init__(self, call: Call, container: str = "", grep: str = "") -> None:
        self._backend = call.backend
        self._others = Others(call)
        self._container = container
        self._grep = grep
        self.pattern = Pattern(grep) if grep else None

    def lines(self, allocation: Allocation, query: LogQuery) -> AsyncIterator[LogLine]:
        """Raises `NotFound` when there is no log."""
        return self._backend.logs(allocation.id, query, self._container)

    async def entries(
        self, allocation: Allocation, query: LogQuery, marks: Marks | None = None
    ) -> AsyncGenerator[LogEntry]:
        """Nothing for an allocation that keeps no log: not yet started, or removed long ago."""
        try:
            async with aclosing(self._found(allocation, query)) as found:
                async for entry in found:
                    if marks is not None and entry.stream != "notice":
                        before, count = marks.get(allocation.id, (0, 0))
                        marks[allocation.id] = (entry.time, count + 1 if before == entry.time else 1)
                    yield entry
        except NotFound:
            return

    def _found(self, allocation: Allocation, query: LogQuery) -> AsyncGenerator[LogEntry]:
        """On whichever node it is."""
        if self._others.has(allocation.node):
            return self._others.log(allocation, query, grep=self._grep, container=self._container)
        return self._chosen_of(allocation, self.lines(allocation, query))

    async def _chosen_of(
        self, allocation: Allocation, lines: AsyncIterator[LogLine]
    ) -> AsyncGenerator[LogEntry]:
        async for line in lines:
            if self.pattern is not None and not self.pattern.found_in(line.text):
                continue
            yield LogEntry(
                time=line.time,
                stream=line.stream,
                text=line.text,
                allocation=allocation.id,
                slot=allocation.slot,
                path=allocation.path,
                attempt=allocation.attempt if allocation.for_job else 0,
            )


class Previous(Reading):
    """Of the instance that ended last; where a replica has ended none yet, of the one that it replaced."""

    async def chosen(self, allocations: Iterable[Allocation]) -> list[Allocation]:
        """The newest of each replica, if it has something earlier. Raises `NotFound` when none has."""
        newest: dict[int, Allocation] = {}
        for allocation in sorted(allocations, key=lambda a: a.attempt):
            newest[allocation.slot] = allocation
        found = [allocation for allocation in newest.values() if await self._has_earlier(allocation)]
        if not found:
            raise NotFound(
                "there is no log of an earlier instance",
                hint="nothing has been restarted, or what was is not kept any more",
            )
        return found

    async def _has_earlier(self, allocation: Allocation) -> bool:
        earlier = await self._earlier(allocation, LogQuery(tail=1))
        if earlier is None:
            return False
        await earlier.aclose()
        return True

    async def _found(self, allocation: Allocation, query: LogQuery) -> AsyncGenerator[LogEntry]:
        if earlier := await self._earlier(allocation, query):
            async with aclosing(earlier):
                async for entry in earlier:
                    yield entry

    async def _earlier(self, allocation: Allocation, query: LogQuery) -> AsyncGenerator[LogEntry] | None:
        before = [
            other
            for other in self._backend.state.allocations_of(allocation.app)
            if other.slot == allocation.slot and other.attempt < allocation.attempt
        ]
        for candidate in (allocation, *sorted(before, key=lambda a: -a.attempt)):
            try:
                if self._others.has(candidate.node):
                    return await _begun(
                        self._others.log(
                            candidate, query, grep=self._grep, container=self._container, previous=True
                        )
                    )
                lines = self._backend.looking.previous_logs(candidate.id, query, self._container)
                return self._chosen_of(allocation, lines)
            except NotFound:
                continue
        return None


async def _begun(entries: AsyncGenerator[LogEntry]) -> AsyncGenerator[LogEntry]:
    """The same; what goes wrong with the first is raised now."""
    first = await anext(entries, None)

    async def all_of_them() -> AsyncGenerator[LogEntry]:
        async with aclosing(entries):
            if first is not None:
                yield first
            async for entry in entries:
                yield entry

    return all_of_them()


def reading(call: Call) -> Reading:
    """As the query asks. Raises `Invalid` for a pattern that cannot be used."""
    query: LogsQuery = call.query
    return Reading(call, query.container, query.grep)


async def history(
    read: Reading,
    allocations: Iterable[Allocation],
    tail: int | None,
    since: int,
    until: int = 0,
    marks: Marks | None = None,
) -> AsyncIterator[LogEntry]:
    """What stands in the logs, merged by time; with `tail` only the last so many lines of it all."""
    if tail == 0:
        return
    query = LogQuery(tail=None if read.pattern else tail, since=since, until=until)
    merged = _merge([read.entries(allocation, query, marks) for allocation in allocations])
    if tail is None:
        async for entry in merged:
            yield entry
        return
    last: deque[LogEntry] = deque(maxlen=tail)
    async for entry in merged:
        last.append(entry)
    for entry in last:
        yield entry


async def _merge(sources: list[AsyncGenerator[LogEntry]]) -> AsyncIterator[LogEntry]:
    async with AsyncExitStack() as stack:
        heads: list[tuple[int, int, LogEntry]] = []
        for index, source in enumerate(sources):
            stack.push_async_callback(source.aclose)
            first = await anext(source, None)
            if first is not None:
                heads.append((first.time, index, first))
        heapq.heapify(heads)
        while heads:
            _, index, entry = heads[0]
            yield entry
            following = await anext(sources[index], None)
            if following is None:
                heapq.heappop(heads)
            else:
                heapq.heapreplace(heads, (following.time, index, following))
