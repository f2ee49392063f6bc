"""What all engines have in common: the script of `launch` tells how a job ends, the engine what the script cannot."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from hivemind.drivers.executors import launch
from hivemind.drivers.executors.contract import Job, Progress, Stream
from hivemind.errors import Invalid, Unavailable

_LOOK = 0.2
"""Seconds between looks at the file that tells the end: dependents shall not wait."""
_ASK = 3.0
"""Seconds between questions to the engine."""
_SETTLE = 2.0
"""Seconds that a file may need to be seen here, once the engine says that all is over."""


class Engine(ABC):
    """Keeps `contract.Executor`."""

    name: str
    options: frozenset[str]

    @abstractmethod
    async def open(self) -> None: ...

    async def close(self) -> None:  # noqa: B027
        """Most hold nothing."""

    @abstractmethod
    async def _hand_over(self, id: str, job: Job, script: Path) -> str:
        """What the engine calls it."""

    @abstractmethod
    async def _known(self, id: str, job: Job) -> str | None:
        """What the engine calls it; None: it does not know it."""

    @abstractmethod
    async def _standing(self, id: str, job: Job, name: str) -> Progress | None:
        """As the engine sees it; None: it does not know it any more."""

    @abstractmethod
    async def _remove(self, id: str, job: Job, name: str, *, kill: bool) -> None:
        """Takes it out of the queue; with `kill` ends it, too, if it has begun."""

    async def submit(self, id: str, job: Job) -> str:
        self._check(job)
        name = await self.find(id, job)
        if name is None:
            name = await self._hand_over(id, job, launch.prepare(job, self._gang(job)))
        launch.note_name(job, name)
        return name

    async def find(self, id: str, job: Job) -> str | None:
        return launch.noted_name(job) or await self._known(id, job)

    async def poll(self, id: str, job: Job) -> Progress:
        ended = launch.outcome(job)
        if ended is not None and not (ended.cause == "canceled" and launch.told_by_engine(job)):
            return ended
        name = await self.find(id, job)
        seen = await self._standing(id, job, name) if name else None
        if seen is not None and seen.standing == "waiting" and launch.asked(job) and not launch.began_on(job):
            return Progress(
                standing="ended", cause="canceled"
            )  # should the engine try yet, the script refuses
        if seen is not None and seen.standing != "ended":
            return ended or seen
        if ended is not None:  # the engine asked it to end: it knows why
            return seen if seen is not None and seen.cause not in ("exit", "signal") else ended
        for _ in range(int(_SETTLE / _LOOK)):
            if (late := launch.outcome(job)) is not None:
                return late
            await asyncio.sleep(_LOOK)
        if seen is not None:
            return seen
        cause, reason = (
            ("canceled", "") if launch.asked(job) else ("lost", f"{self.name} does not know it any more")
        )
        return Progress(standing="ended", cause=cause, reason=reason)  # type: ignore[arg-type]

    async def wait(self, id: str, job: Job) -> Progress:
        loop = asyncio.get_running_loop()
        next_question = 0.0
        while True:
            if launch.outcome(job) is not None or loop.time() >= next_question:
                try:
                    progress = await self.poll(id, job)
                    if progress.standing == "ended":
                        return progress
                except Unavailable:
                    pass  # that says nothing of the job
                next_question = loop.time() + _ASK
            await asyncio.sleep(_LOOK)

    async def cancel(self, id: str, job: Job, *, kill: bool = False) -> None:
        if launch.outcome(job) is not None or (name := await self.find(id, job)) is None:
            return
        launch.ask(job, "KILL" if kill else "TERM")
        await self._remove(id, job, name, kill=kill)

    async def output(self, id: str, job: Job, stream: Stream, offset: int = 0) -> bytes:
        return launch.output(job, stream, offset)

    async def forget(self, id: str, job: Job) -> None:  # noqa: B027
        """Most forget by themselves."""

    def _gang(self, job: Job) -> tuple[str, ...]:
        """What starts the members of a gang."""
        if job.nodes > 1:
            raise Invalid(
                f"{self.name} starts one process for a task, not {job.nodes}", hint="leave out nodes"
            )
        return ()

    def _check(self, job: Job) -> None:
        for option, value in job.options.items():
            if option not in self.options:
                known = ", ".join(sorted(self.options))
                raise Invalid(f"{self.name} has no option {option!r} here", hint=f"there are {known}")
            if not isinstance(value, str | int | bool | float) or any(ord(c) < 32 for c in str(value)):
                raise Invalid(f"the option {option!r} must be a text or a number")

    def _option(self, job: Job, name: str, default: str = "") -> str:
        value: Any = job.options.get(name, default)
        return str(value)
