"""Logs: what was written, over all replicas in order of time; and what is being written, as it comes."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import AsyncExitStack
from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType
from starlette.responses import Response, StreamingResponse
from starlette.websockets import WebSocket

from hivemind.api.backend import Backend
from hivemind.api.collection import home
from hivemind.api.endpoint import Answer, Call, Endpoint, encode_line
from hivemind.api.remote.places import of_allocation
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
        read = previous = Previous(call.backend, query.container, read.pattern)
        allocations = previous.chosen(allocations)
    found = history(read, allocations, tail_of(query), query.since, query.until)
    first = await anext(found, None)  # what goes wrong at once is still told by the status
    return StreamingResponse(_lines(first, found), media_type=STREAM_FORMAT)


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

    def __init__(self, backend: Backend, container: str = "", pattern: Pattern | None = None) -> None:
        self._backend = backend
        self._container = container
        self.pattern = pattern

    def lines(self, allocation: Allocation, query: LogQuery) -> AsyncIterator[LogLine]:
        """Raises `NotFound` when there is no log."""
        return self._backend.logs(allocation.id, query, self._container)

    async def entries(
        self, allocation: Allocation, query: LogQuery, marks: Marks | None = None
    ) -> AsyncGenerator[LogEntry]:
        """Nothing for an allocation that keeps no log: not yet started, or removed long ago."""
        try:
            async for line in self.lines(allocation, query):
                if self.pattern is not None and not self.pattern.found_in(line.text):
                    continue
                if marks is not None:
                    before, count = marks.get(allocation.id, (0, 0))
                    marks[allocation.id] = (line.time, count + 1 if before == line.time else 1)
                yield LogEntry(
                    time=line.time,
                    stream=line.stream,
                    text=line.text,
                    allocation=allocation.id,
                    slot=allocation.slot,
                    path=allocation.path,
                    attempt=allocation.attempt if allocation.for_job else 0,
                )
        except NotFound:
            return


class Previous(Reading):
    """Of the instance that ended last; where a replica has ended none yet, of the one that it replaced."""

    def chosen(self, allocations: Iterable[Allocation]) -> list[Allocation]:
        """The newest of each replica, if it has something earlier. Raises `NotFound` when none has."""
        newest: dict[int, Allocation] = {}
        for allocation in sorted(allocations, key=lambda a: a.attempt):
            newest[allocation.slot] = allocation
        found = [allocation for allocation in newest.values() if self._earlier(allocation, LogQuery())]
        if not found:
            raise NotFound(
                "there is no log of an earlier instance",
                hint="nothing has been restarted, or what was is not kept any more",
            )
        return found

    async def lines(self, allocation: Allocation, query: LogQuery) -> AsyncIterator[LogLine]:
        if earlier := self._earlier(allocation, query):
            async for line in earlier:
                yield line

    def _earlier(self, allocation: Allocation, query: LogQuery) -> AsyncIterator[LogLine] | None:
        before = [
            other
            for other in self._backend.state.allocations_of(allocation.app)
            if other.slot == allocation.slot and other.attempt < allocation.attempt
        ]
        for candidate in (allocation, *sorted(before, key=lambda a: -a.attempt)):
            try:
                return self._backend.looking.previous_logs(candidate.id, query, self._container)
            except NotFound:
                continue
        return None


def reading(call: Call) -> Reading:
    """As the query asks. Raises `Invalid` for a pattern that cannot be used."""
    query: LogsQuery = call.query
    return Reading(call.backend, query.container, Pattern(query.grep) if query.grep else None)


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
