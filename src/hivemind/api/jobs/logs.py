"""What the tasks of a run wrote, over all their attempts in order of time; and what they write, as it comes."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType
from starlette.responses import Response
from starlette.websockets import WebSocket

from hivemind.api.endpoint import Call, encode_line
from hivemind.api.follow import end_all, send_while_there
from hivemind.api.jobs.lookup import find_run, find_task, tasks_of
from hivemind.api.jobs.watching import Watcher, watching
from hivemind.api.logs import Marks, Reading
from hivemind.api.streams import Streamed, rang
from hivemind.drivers.runtimes.contract import LogQuery
from hivemind.errors import HivemindError, Invalid, Unavailable
from hivemind.model.allocation import Allocation, AllocationState
from hivemind.model.answers import STREAM_FORMAT, LogEntry
from hivemind.model.base import Spec
from hivemind.model.run import Run, TaskRun, task_key

_NANOSECONDS = Meta(ge=0, le=2**63 - 1, description="nanoseconds since 1970; 0: no bound")
_EARLY = 10**9
"""Nanoseconds by which a first line may be older than the beginning of its attempt."""
_AHEAD = 256


class RunLogsQuery(Spec, frozen=True, kw_only=True):
    task: Annotated[str, Meta(max_length=1000, description="only of this task, group or fan-out")] = ""
    attempt: Annotated[int, Meta(ge=0, description="only of attempts of this number; 0: of all")] = 0
    tail: Annotated[int, Meta(ge=0, le=100_000, description="only the last so many lines")] | UnsetType = (
        UNSET
    )
    since: Annotated[int, _NANOSECONDS] = 0
    until: Annotated[int, _NANOSECONDS] = 0
    grep: Annotated[
        str, Meta(max_length=1000, description="only lines in which this regular expression is found")
    ] = ""


class Wanted:
    """Which attempts of a run are read, and how."""

    def __init__(self, call: Call, run: Run) -> None:
        query: RunLogsQuery = call.query
        if query.until and query.until < query.since:
            raise Invalid("`until` is before `since`", hint="exchange them")
        if query.task:
            find_task(call.state, run, query.task)
        self.state = call.state
        self.run = run
        self.query = query
        self.tail = None if isinstance(query.tail, UnsetType) else query.tail
        self.read = Reading(call, "", query.grep)

    def present(self) -> list[Allocation]:
        """All attempts that there are, in the order in which they began."""
        found = [each for task in tasks_of(self.state, self.run) for each in self.attempts(task)]
        return sorted(found, key=lambda a: (a.started_at, a.path, a.attempt, a.slot))

    def at(self, path: str) -> list[Allocation]:
        task = self.state.task_runs.get(task_key(self.run.id, path))
        return self.attempts(task) if task else []

    def attempts(self, task: TaskRun) -> list[Allocation]:
        """Of one task; those that ended are not in state any more, and are told by what is remembered of them."""
        if not self._about(task.path):
            return []
        found = [
            Allocation(
                id=id, project=self.run.project, run=self.run.id, path=task.path, attempt=attempt.number,
                slot=rank, started_at=attempt.started or attempt.ended, state=AllocationState.COMPLETE, node=node,
            )
            for attempt in task.attempts
            for rank, (id, node) in enumerate(zip(attempt.allocations, attempt.nodes, strict=False))
        ]  # fmt: skip
        ended = {each.id for each in found}
        for id in task.allocations:
            live = self.state.allocations.get(id)
            if live is not None and id not in ended:
                found.append(live)
        wanted = self.query.attempt
        return [each for each in found if wanted in (0, each.attempt)]

    def over(self, allocation: Allocation) -> bool:
        """Nothing more will be written."""
        live = self.state.allocations.get(allocation.id)
        return live is None or not live.live

    def _about(self, path: str) -> bool:
        around = self.query.task
        return not around or path == around or path.startswith((f"{around}.", f"{around}["))


async def read_logs(call: Call) -> Response:
    wanted = Wanted(call, find_run(call.state, call.params["project"], call.params["name"]))
    return Streamed(_lines(wanted), media_type=STREAM_FORMAT)


async def _lines(wanted: Wanted) -> AsyncIterator[bytes]:
    async for entry in history(wanted, wanted.present()):
        yield encode_line(entry)


async def history(
    wanted: Wanted, attempts: Iterable[Allocation], marks: Marks | None = None
) -> AsyncIterator[LogEntry]:
    """What was written, by time; with `tail` only the last so many lines of it all."""
    tail = wanted.tail
    if tail == 0:
        return
    read, asked = wanted.read, wanted.query
    query = LogQuery(tail=None if read.pattern else tail, since=asked.since, until=asked.until)
    sources = [(each.started_at * 10**6, read.entries(each, query, marks)) for each in attempts]
    if tail is None:
        async for entry in _merge(sources):
            yield entry
        return
    last: deque[LogEntry] = deque(maxlen=tail)
    async for entry in _merge(sources):
        last.append(entry)
    for entry in last:
        yield entry


async def _merge(sources: list[tuple[int, AsyncGenerator[LogEntry]]]) -> AsyncIterator[LogEntry]:
    """Sorted by time. A log is only opened when its turn has come: a run may have ten thousand of them."""
    coming = deque(sorted(enumerate(sources), key=lambda each: (each[1][0], each[0])))
    heads: list[tuple[int, int, LogEntry]] = []
    try:
        while coming or heads:
            while coming and (not heads or coming[0][1][0] - _EARLY <= heads[0][0]):
                index, (_, source) = coming.popleft()
                if (first := await anext(source, None)) is not None:
                    heapq.heappush(heads, (first.time, index, first))
            if not heads:
                continue
            _, index, entry = heads[0]
            yield entry
            following = await anext(sources[index][1], None)
            if following is None:
                heapq.heappop(heads)
            else:
                heapq.heapreplace(heads, (following.time, index, following))
    finally:
        for _, source in sources:
            await source.aclose()


async def follow_logs(call: Call, socket: WebSocket) -> None:
    run = find_run(call.state, call.params["project"], call.params["name"])
    if call.query.until:
        raise Invalid("what is followed has no end in time", hint="leave out `until`, or do not follow")
    await send_while_there(socket, _Follower(call, Wanted(call, run)).run)


class _Follower:
    """A task for each attempt that runs feeds one bounded queue: a slow reader slows the reading."""

    def __init__(self, call: Call, wanted: Wanted) -> None:
        self.call = call
        self.wanted = wanted
        self.queue: asyncio.Queue[LogEntry | None] = asyncio.Queue(_AHEAD)
        self.feeds: dict[str, asyncio.Task[None]] = {}
        self.ended: dict[str, asyncio.Event] = {}
        self.failure: HivemindError | None = None

    async def run(self, socket: WebSocket) -> None:
        with (
            self.call.streams.bell() as bell,
            watching(self.call.backend, self.wanted.run.id, bell) as watcher,
        ):
            start, present, marks = time.time_ns(), self.wanted.present(), Marks()
            over = {each.id: self.wanted.over(each) for each in present}
            async for entry in history(self.wanted, present, marks):
                await socket.send_bytes(encode_line(entry))
            for each in present:
                self.ended[each.id] = asyncio.Event()
                if not over[each.id]:
                    begin = start if self.wanted.tail == 0 else self.wanted.query.since
                    self._join(each, marks.get(each.id, (begin, 0)), bell)
            gathering = asyncio.create_task(self._gather(watcher, bell))
            try:
                while (coming := await self.queue.get()) is not None:
                    await socket.send_bytes(encode_line(coming))
                if self.failure:
                    raise self.failure
            finally:
                await end_all([gathering, *self.feeds.values()])

    async def _gather(self, watcher: Watcher, bell: asyncio.Event) -> None:
        """Lets new attempts join; says the end once none can come and all was read."""
        try:
            while not self.call.streams.closing:
                _, paths = watcher.take()
                for path in paths:
                    for each in self.wanted.at(path):
                        self._noticed(each, bell)
                for feed in [feed for feed in self.feeds.values() if feed.done()]:
                    feed.result()
                if self._run_is_over and all(feed.done() for feed in self.feeds.values()):
                    break
                await rang(bell, self.call.settings.heartbeat)
            else:
                raise Unavailable("this node is stopping", hint="ask again once it is back")
        except HivemindError as error:
            self.failure = error
        await self.queue.put(None)

    @property
    def _run_is_over(self) -> bool:
        run = self.wanted.state.runs.get(self.wanted.run.id)
        return run is None or run.state.ended

    def _noticed(self, allocation: Allocation, bell: asyncio.Event) -> None:
        if allocation.id not in self.ended:
            self.ended[allocation.id] = asyncio.Event()
            self._join(allocation, (self.wanted.query.since, 0), bell)
        if self.wanted.over(allocation):
            self.ended[allocation.id].set()

    def _join(self, allocation: Allocation, mark: tuple[int, int], bell: asyncio.Event) -> None:
        feed = asyncio.create_task(self._feed(allocation, mark))
        feed.add_done_callback(lambda _: bell.set())
        self.feeds[allocation.id] = feed

    async def _feed(self, allocation: Allocation, mark: tuple[int, int]) -> None:
        """Reads on as long as something may come; and once more when it is over, from where the log is then kept."""
        while True:
            over = self.wanted.over(allocation)
            mark = await self._read(allocation, mark, follow=not over)
            if over:
                return
            await self.ended[allocation.id].wait()

    async def _read(self, allocation: Allocation, mark: tuple[int, int], *, follow: bool) -> tuple[int, int]:
        """From the mark on, without the lines of that very moment that were sent already; the new mark."""
        since, sent = mark
        moment, count, passed = since, sent, 0
        coming = self.wanted.read.entries(allocation, LogQuery(follow=follow, since=since))
        async with aclosing(coming):
            async for entry in coming:
                if entry.time == since and passed < sent:
                    passed += 1
                    continue
                moment, count = (moment, count + 1) if entry.time == moment else (entry.time, 1)
                await self.queue.put(entry)
        return moment, count
