"""The files of one trigger: which are new, which are whole by now, and telling the hive of these.

A file is new when it is not remembered as it is: another inode, size or time makes it another. It is whole when it has
not changed for as long as the trigger wants. Only the kernel's word, and a look at everything at the beginning, says
where something changed; while nothing does, nothing is done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import PurePosixPath

import msgspec

from hivemind.agent.triggers.memory import Memory
from hivemind.agent.triggers.pattern import Pattern
from hivemind.agent.triggers.walk import Found, Visit, look, walk
from hivemind.errors import HivemindError, Unavailable
from hivemind.model.job import FileTrigger
from hivemind.model.names import derive_id
from hivemind.state.jobs.events import source_of
from hivemind.state.operations import RaiseEvent
from hivemind.state.state import Outcome

log = logging.getLogger(__name__)
_AGAIN = 5.0
"""Seconds until an event is raised again that could not be."""


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be watched: one trigger of one job, on this node. Equal goals are one."""

    project: str
    job: str
    """Its id."""
    job_name: str
    trigger: FileTrigger
    top: str
    """The directory that the pattern begins in."""
    place: str
    """What files are called below: the volume, or the node."""
    node: str
    """Its name."""
    since: int
    """Milliseconds: files that were there before this had never arrived."""

    @property
    def id(self) -> str:
        """The same while what is watched is the same, whatever else is changed about the job."""
        return derive_id("files", self.job, self.place, self.trigger.path)


class Watch:
    """`visit(watch, ...)` is called on a thread for each directory that is looked at."""

    def __init__(
        self,
        goal: Goal,
        memory: Memory,
        submit: Callable[[RaiseEvent], Awaitable[Outcome]],
        visit: Callable[[Watch], Visit],
    ) -> None:
        self.goal = goal
        self.pattern = Pattern(goal.trigger.path)
        self._memory = memory
        self._submit = submit
        self._visit = visit
        self._settling: dict[str, asyncio.Task[None]] = {}
        self._scan: asyncio.Task[None] | None = None
        self._again = False

    def rescan(self) -> None:
        """Looks at everything, again if it is doing so already."""
        if self._scan is not None and not self._scan.done():
            self._again = True
        else:
            self._scan = asyncio.get_running_loop().create_task(self._look_at_all())

    def touched(self, path: str) -> None:
        """Something was done to what may be a file of ours."""
        if path not in self._settling:
            task = asyncio.get_running_loop().create_task(self._settle(path))
            self._settling[path] = task
            task.add_done_callback(lambda done: self._settled(path, done))

    async def stop(self) -> None:
        tasks = [*self._settling.values(), *([self._scan] if self._scan else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def forget(self) -> None:
        self._memory.forget()

    async def _look_at_all(self) -> None:
        while True:
            self._again = False
            self._memory.looking()
            found = await asyncio.to_thread(walk, self.goal.top, self.pattern, self._visit(self))
            first, since = self._memory.new, self.goal.since * 1_000_000
            keys = [(self._key(file), file) for file in found]
            self._memory.keep(
                [key for key, file in keys if key in self._memory or (first and file.changed < since)]
            )
            for key, file in keys:
                if key not in self._memory:
                    self.touched(file.path)
            if not self._again:
                return

    async def _settle(self, path: str) -> None:
        """Until it is whole and told of, or gone."""
        before: Found | None = None
        while (now := await asyncio.to_thread(look, self.goal.top, path)) is not None:
            if self._key(now) in self._memory:
                return
            if before is not None and self._key(before) == self._key(now):
                await self._tell(now)
                return
            before = now
            await asyncio.sleep(self.goal.trigger.settle)

    def _settled(self, path: str, task: asyncio.Task[None]) -> None:
        self._settling.pop(path, None)
        if not task.cancelled() and (error := task.exception()):
            log.error("file %s of job %s could not be told of", path, self.goal.job_name, exc_info=error)

    async def _tell(self, file: Found) -> None:
        """Until the hive has decided about it. What it refuses it would refuse again."""
        operation = self._event(file)
        while True:
            try:
                outcome = await self._submit(operation)
            except Unavailable as error:
                log.warning("file %s of job %s waits: %s", file.path, self.goal.job_name, error.message)
                await asyncio.sleep(_AGAIN)
                continue
            except HivemindError as error:
                outcome = Outcome(code=error.code, message=error.message)
            if outcome.code:
                log.warning("file %s starts no run of %s: %s", file.path, self.goal.job_name, outcome.message)
            self._memory.add(self._key(file))
            return

    def _event(self, file: Found) -> RaiseEvent:
        goal = self.goal
        payload = {
            "path": file.path if goal.trigger.volume else f"/{file.path}",
            "name": PurePosixPath(file.path).name,
            "size": file.size,
            "modified": file.modified // 1_000_000,
            "volume": goal.trigger.volume or "",
            "node": goal.node,
        }
        return RaiseEvent(
            project=goal.project,
            type="file",
            job=goal.job_name,
            source=source_of(goal.trigger),
            payload=payload,
            key=self._key(file),
        )

    def _key(self, file: Found) -> str:
        """Of a file in a volume the same on every node that has it."""
        return derive_id(self.goal.place, file.path, file.inode, file.size, file.modified, length=20)
