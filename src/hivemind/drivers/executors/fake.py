"""An engine without a cluster, for tests: it starts the script on this machine, at once or when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from hivemind.drivers.executors import launch
from hivemind.drivers.executors.contract import Job, Progress
from hivemind.drivers.executors.engine import Engine
from hivemind.errors import Unavailable


class Fake(Engine):
    """`held`: nothing begins until `release`. `deaf`: it does not answer. `jobs`: what it was given, by id."""

    name = "fake"
    options = frozenset({"partition", "address"})

    def __init__(self, *, held: bool = False) -> None:
        self.held = held
        self.deaf = False
        self.jobs: dict[str, Path] = {}
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def open(self) -> None:
        """Nothing is needed."""

    async def close(self) -> None:
        """Its jobs go on; `destroy` ends them."""

    async def release(self) -> None:
        self.held = False
        for id in list(self.jobs):
            await self._begin(id)

    async def lose(self, id: str) -> None:
        """As if the machine that runs it were gone, and the job with it."""
        process = self._running.pop(id)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        del self.jobs[id]

    async def destroy(self) -> None:
        for id in list(self._running):
            await self.lose(id)

    async def _hand_over(self, id: str, job: Job, script: Path) -> str:
        self._hear()
        self.jobs[id] = script
        if not self.held:
            await self._begin(id)
        return f"fake-{id}"

    async def _known(self, id: str, job: Job) -> str | None:
        self._hear()
        return f"fake-{id}" if id in self.jobs else None

    async def _standing(self, id: str, job: Job, name: str) -> Progress | None:
        self._hear()
        if id not in self.jobs:
            return None
        process = self._running.get(id)
        if process is None:
            return Progress(standing="waiting", reason="fake: it is held")
        if process.returncode is None:
            return Progress(standing="running", nodes=(launch.began_on(job),) if launch.began_on(job) else ())
        code = process.returncode
        return launch.exited(code if code >= 0 else 128 - code)

    async def _remove(self, id: str, job: Job, name: str, *, kill: bool) -> None:
        self._hear()
        if id not in self._running:
            self.jobs.pop(id, None)

    async def _begin(self, id: str) -> None:
        self._running[id] = await asyncio.create_subprocess_exec(
            "/bin/sh",
            str(self.jobs[id]),
            env={"PATH": os.environ.get("PATH", os.defpath)},
            start_new_session=True,
        )

    def _hear(self) -> None:
        if self.deaf:
            raise Unavailable("the fake engine does not answer")
