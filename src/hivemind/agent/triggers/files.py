"""All file triggers that this node looks after: those of volumes that it has, and those of its own paths.

Which there are follows from what is agreed. The kernel tells of each directory in which something changes; where it
cannot (a share of another machine, too many directories), everything is looked at from time to time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

from hivemind.agent.triggers.memory import Memory
from hivemind.agent.triggers.walk import Visit
from hivemind.agent.triggers.watch import Goal, Watch
from hivemind.drivers.runtimes.inotify import (
    CLOSE_WRITE,
    CREATE,
    DELETE_SELF,
    IGNORED,
    MOVE_SELF,
    MOVED_TO,
    Change,
    Inotify,
)
from hivemind.errors import HivemindError, Invalid, NotFound
from hivemind.model.job import FileTrigger, Job
from hivemind.model.volume import Volume
from hivemind.state.operations import RaiseEvent
from hivemind.state.state import Outcome, State
from hivemind.state.storage import storage_class
from hivemind.state.tables import Change as Agreed
from hivemind.store.events import EventLog

log = logging.getLogger(__name__)
_MASK = CREATE | MOVED_TO | CLOSE_WRITE | DELETE_SELF | MOVE_SELF
_MOVED = DELETE_SELF | MOVE_SELF
_DIRECTORY = 0x40000000
_TABLES = frozenset({"jobs", "definitions", "volumes", "projects", "storage_classes"})
_EVERY = 30.0
"""Seconds between looks at what the kernel does not tell of."""

Spot = tuple[Watch, str, frozenset[int]]
"""A directory for one of those who watch it: its path from the top, its place in the pattern."""


class FileTriggers:
    """`start`, then `agreed` after each batch, then `stop`. `files_of`: where the files of a volume of this node are;
    empty: not here, or not yet."""

    def __init__(
        self,
        *,
        node: str,
        node_name: str,
        state: State,
        home: Path,
        files_of: Callable[[Volume], str],
        submit: Callable[[RaiseEvent], Awaitable[Outcome]],
        events: EventLog,
    ) -> None:
        self._node = node
        self._node_name = node_name
        self._state = state
        self._home = home
        self._files_of = files_of
        self._submit = submit
        self._events = events
        self._watches: dict[str, Watch] = {}
        self._spots: dict[int, dict[tuple[int, str], Spot]] = {}
        self._inotify: Inotify | None = None
        self._wanted = asyncio.Event()
        self._deaf: set[str] = set()
        """Ids of watches to which the kernel cannot tell everything."""
        self._tasks: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._wanted.set()
        self._tasks.append(self._loop.create_task(self._run()))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for watch in self._watches.values():
            await watch.stop()
        if self._inotify is not None:
            self._inotify.close()

    def agreed(self, changes: Sequence[Agreed]) -> None:
        """To be called after each batch with what it changed."""
        if any(change.table in _TABLES and not _only_ran(change) for change in changes):
            self._wanted.set()

    def noticed(self) -> None:
        """To be called when a volume may have come to be ready."""
        self._wanted.set()

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_EVERY if self._deaf else None):
                    await self._wanted.wait()
            except TimeoutError:
                self._rescan_deaf()
            self._wanted.clear()
            try:
                await self._arrange()
            except (HivemindError, OSError) as error:
                log.error("files cannot be watched: %s", error)

    async def _arrange(self) -> None:
        """Watches what is wanted, and nothing else."""
        goals = {goal.id: goal for goal in self._goals()}
        for id in [id for id, watch in self._watches.items() if goals.get(id) != watch.goal]:
            watch = self._watches.pop(id)
            await watch.stop()
            self._unwatch(watch)
            if id not in goals and not self._away(watch.goal):
                watch.forget()
        for id, goal in goals.items():
            if id not in self._watches:
                watch = Watch(goal, Memory(self._home / id), self._submit, self._visit)
                self._watches[id] = watch
                watch.rescan()

    def _away(self, goal: Goal) -> bool:
        """It is still wanted, and only cannot be had here just now."""
        job = self._state.jobs.get(goal.job)
        return job is not None and any(
            t.path == goal.trigger.path for t in self._state.job_spec(job).triggers.file
        )

    # -- what is wanted --------------------------------------------------------------------------------------

    def _goals(self) -> Iterator[Goal]:
        for job in self._state.jobs.values():
            for trigger in self._state.job_spec(job).triggers.file:
                try:
                    goal = self._goal(job, trigger)
                except Invalid as error:
                    log.warning("a file trigger of job %s cannot be: %s", job.name, error.message)
                    continue
                if goal is not None:
                    yield goal

    def _goal(self, job: Job, trigger: FileTrigger) -> Goal | None:
        if trigger.volume:
            volume = self._state.volumes.get(f"{job.project}/{trigger.volume}")
            top = self._files_of(volume) if volume and volume.node == self._node else ""
            place = volume.id if volume else ""
        else:
            top, place = self._own(job, trigger), self._node
        if not top:
            return None
        return Goal(
            project=job.project,
            job=job.id,
            job_name=job.name,
            trigger=trigger,
            top=top,
            place=place,
            node=self._node_name,
            since=self._since(job, trigger),
        )

    def _own(self, job: Job, trigger: FileTrigger) -> str:
        """A path of the node itself, where the project may see that."""
        if trigger.node and trigger.node != self._node_name:
            return ""
        project = self._state.projects.get(job.project)
        if project is None or "bind" not in project.permissions:
            return ""
        if not trigger.path.startswith("/"):
            raise Invalid(
                f"{trigger.path!r} does not begin with a slash", hint="or name the volume that it is in"
            )
        return "/"

    def _since(self, job: Job, trigger: FileTrigger) -> int:
        """When (ms) the job first had that trigger, as far as its definitions are kept."""
        since = job.updated
        for number in reversed(self._state.work.definition_numbers(job.id)):
            definition = self._state.definition(job.id, number)
            if not any(same(trigger, each) for each in definition.spec.triggers.file):
                break
            since = definition.created
        return since

    # -- what the kernel tells -------------------------------------------------------------------------------

    def _visit(self, watch: Watch) -> Visit:
        """Called on a thread: the watch is set before the directory is read, and noted in the loop afterwards."""

        def visit(name: str, path: str, place: frozenset[int]) -> None:
            try:
                wd = self._kernel().add(name, _MASK)
            except NotFound:
                return
            except HivemindError as error:
                self._loop.call_soon_threadsafe(self._note_deaf, watch, error.message)
                return
            self._loop.call_soon_threadsafe(self._note, wd, watch, path, place)

        if watch.goal.trigger.volume and self._shared(watch.goal):
            self._deaf.add(watch.goal.id)
        self._kernel()
        return visit

    def _shared(self, goal: Goal) -> bool:
        """Other machines write there, too, of which the kernel here tells nothing."""
        volume = self._state.volumes.get(f"{goal.project}/{goal.trigger.volume}")
        return volume is not None and storage_class(self._state, volume.storage_class).shared

    def _kernel(self) -> Inotify:
        if self._inotify is None:
            self._inotify = Inotify()
            self._tasks.append(self._loop.create_task(self._listen(self._inotify)))
        return self._inotify

    def _note(self, wd: int, watch: Watch, path: str, place: frozenset[int]) -> None:
        if self._watches.get(watch.goal.id) is watch:
            self._spots.setdefault(wd, {})[id(watch), path] = (watch, path, place)

    def _note_deaf(self, watch: Watch, why: str) -> None:
        if watch.goal.id not in self._deaf:
            self._deaf.add(watch.goal.id)
            self._wanted.set()
            self._events.append(
                "files.unwatched",
                f"the files {watch.goal.trigger.path} are looked at every {_EVERY:.0f} s only: {why}",
                level="warning",
                project=watch.goal.project,
                name=watch.goal.job_name,
            )

    def _rescan_deaf(self) -> None:
        self._deaf &= self._watches.keys()
        for id in self._deaf:
            self._watches[id].rescan()

    def _unwatch(self, watch: Watch) -> None:
        for wd, spots in list(self._spots.items()):
            for spot in [key for key in spots if key[0] == id(watch)]:
                del spots[spot]
            if not spots:
                del self._spots[wd]
                if self._inotify is not None:
                    self._inotify.remove(wd)

    async def _listen(self, kernel: Inotify) -> None:
        async for change in kernel:
            if change.mask & IGNORED:
                self._spots.pop(change.wd, None)
            elif change.wd not in self._spots:
                # Too much happened at once, or it happened before the watch was noted.
                for watch in self._watches.values():
                    watch.rescan()
            else:
                for spot in list(self._spots[change.wd].values()):
                    _happened(*spot, change)


def _happened(watch: Watch, path: str, place: frozenset[int], change: Change) -> None:
    there = watch.pattern.below(place, change.name)
    if change.mask & _MOVED:
        watch.rescan()
    elif change.mask & _DIRECTORY:
        if watch.pattern.goes_on(there):
            watch.rescan()
    elif watch.pattern.means(there):
        watch.touched(f"{path}/{change.name}" if path else change.name)


def same(one: FileTrigger, other: FileTrigger) -> bool:
    return (one.path, one.volume, one.node) == (other.path, other.volume, other.node)


def _only_ran(change: Agreed) -> bool:
    """A job that has one run more: that happens all the time."""
    old, new = change.old, change.new
    return change.table == "jobs" and old is not None and new is not None and old.number == new.number
