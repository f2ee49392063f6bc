"""An attempt that an engine runs (Slurm, Dask, Ray): handed over once, waited for, reported, and forgotten there.

The engine knows it by the allocation's id, so a daemon that starts anew finds it again. Its directory on this node is
the one that the engine's machines must see; time limits, resources and the members of a gang are the engine's affair:
of a gang only the first member is handed over, for all.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from hivemind.agent.provision.contract import provide
from hivemind.agent.tasks import outcome
from hivemind.agent.tasks.attempt import HOPELESS, LASTING, Attempt
from hivemind.agent.tasks.compose import Member
from hivemind.agent.tasks.engine_log import EngineLog
from hivemind.agent.work.compose import arguments
from hivemind.drivers.executors.contract import Executor, Job, Progress
from hivemind.drivers.runtimes import kept_log
from hivemind.drivers.runtimes.contract import Container, Exit, LogLine, LogQuery, Status
from hivemind.errors import HivemindError, Unsupported
from hivemind.jobs.order import OUTPUT, STEPS, Order
from hivemind.model.allocation import Allocation, Desired, Phase
from hivemind.model.app import AppSpec
from hivemind.model.base import UNREADABLE, decode, encode
from hivemind.model.image import ImageConfig
from hivemind.model.isolation import Isolation
from hivemind.model.network import NetworkOptions

if TYPE_CHECKING:
    from hivemind.agent.tasks.attempts import Attempts

NOTE = "engine"
"""File of an attempt's live directory that says to whom it was handed over."""
_LOG_SIZE, _LOG_FILES = 16 * 2**20, 3


class Handed(msgspec.Struct, frozen=True, kw_only=True):
    """What a daemon must know that finds a job whose attempt the hive has forgotten."""

    executor: str
    run: str
    path: str
    rank: int
    number: int
    job: Job
    """Without its variables."""


class Elsewhere(Attempt):
    """Nothing of it is in a runtime of this node. `handed`: what is known of it without the hive."""

    def __init__(
        self, attempts: Attempts, id: str, member: Member, number: int, *, handed: Handed | None = None
    ) -> None:
        super().__init__(attempts, id, member, number, adopted=True)
        self.attached = False
        self._handed = handed
        self._executor: Executor | None = None
        self._progress: Progress | None = None

    async def _step(self) -> None:
        allocation = self.agent.state.allocations.get(self.id)
        if allocation is None or allocation.state.ended or self._fenced:
            await self._let_go(keep=allocation is not None or self._remembered)
        elif self._said:
            await self._woken(None)
        elif self.member.rank:
            self._say(outcome.ended(allocation, Exit(code=0, at=self.agent.clock()), started=0))
        elif self._progress is not None:
            await self._tell(allocation, self._progress)
        elif self._note() is None and (why := self.agent.fence.closed):
            self.observe(Phase.WAITING, why)
            await self._woken(None)
        else:
            await self._begin(allocation)

    async def _begin(self, allocation: Allocation) -> None:
        """Hands it over, if that was not done, and follows it to its end."""
        if allocation.desired is Desired.STOP and self._note() is None:
            self._say(outcome.stopped(allocation, None, started=0, now=self.agent.clock()))
            return
        handed = self._note() is not None
        try:
            order = self.order()
            job = await self._composed(allocation, order)
            executor = self._executor = await self.while_wanted(self.attempts.executor(order.executor))
            await self.attempts.make_way(self)
            self._write_note(order, job)
            name = await executor.submit(self.id, job)
        except HivemindError as error:
            self._failures += 1
            hopeless = isinstance(error, HOPELESS) or self._failures >= LASTING
            if not hopeless or (handed and not await self._is_absent()):
                raise  # it may run there: it is asked again until it says how that stands
            (self.place / NOTE).unlink(missing_ok=True)
            self._say(outcome.not_started(allocation, error, self.agent.clock()))
            return
        self.observe(Phase.RUNNING, f"{order.executor} has it as {name}")
        self._progress = await self._ended(executor, job)

    async def _is_absent(self) -> bool:
        """The engine says that it does not have it."""
        note = self._note()
        if note is None or self._executor is None:
            return note is None
        return await self._executor.find(self.id, note.job) is None

    async def _ended(self, executor: Executor, job: Job) -> Progress:
        """Tells the engine to stop it as soon as that is wished."""
        waiting = asyncio.ensure_future(executor.wait(self.id, job))
        told = ""
        try:
            while not waiting.done():
                self._wake.clear()
                wish = self._wish()
                if wish and wish != told:
                    told = wish
                    self.observe(Phase.STOPPING)
                    await executor.cancel(self.id, job, kill=wish == "kill")
                    self._stopped = True
                waker = asyncio.ensure_future(self._wake.wait())
                try:
                    await asyncio.wait((waiting, waker), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    waker.cancel()
            return waiting.result()
        finally:
            waiting.cancel()

    def _wish(self) -> str:
        if self._shall_die():
            return "kill"
        return "stop" if self.agent.state.allocations[self.id].desired is Desired.STOP else ""

    async def _tell(self, allocation: Allocation, progress: Progress) -> None:
        now = self.agent.clock()
        exit = Exit(code=progress.exit_code, at=now, reason=progress.reason, oom=progress.cause == "oom")
        if allocation.desired is Desired.STOP:
            self._say(outcome.stopped(allocation, exit, started=allocation.placed, now=now))
            return
        container = Container(id=self.id, status=Status.EXITED, started=allocation.placed)
        report = await self._collecting.report(allocation, self.order(), container, exit)
        if progress.cause != "exit":
            report = replace(report, cause=progress.cause, reason=progress.reason or report.reason)
        self._say(report)

    async def _composed(self, allocation: Allocation, order: Order) -> Job:
        template = order.template
        if template.image or template.mounts:
            raise Unsupported(
                f"{order.executor} runs plain commands, without images and mounts of the hive",
                hint=f"leave them out, or start the container by the command: {order.executor} has ways for that",
            )
        for what, option in _not_there(template):
            raise Unsupported(
                f"{order.executor} cannot {what}", hint=f"leave out {option}, or run it in the hive"
            )
        self._make_directory(order)
        provision = await provide(self.agent.providers, allocation, template, template, "")
        self.provided = bool(template.env_from)
        resources = template.resources
        return Job(
            argv=arguments(template, ImageConfig()),
            env={
                **provision.env, **provision.secret_env, **template.env,
                "HIVEMIND_ALLOCATION": self.id,
                OUTPUT: str(self.place / "output"),
                **({STEPS: str(self.place / "steps")} if order.steps else {}),
                **self.attempts.opened(order),
            },
            workdir=os.path.join(self.place, "work", template.workdir or ""),
            directory=str(self.place),
            cpus=resources.cpus or 1.0,
            memory=resources.memory,
            gpus=resources.gpus,
            nodes=order.size,
            timeout=order.timeout,
            grace=order.template.stop.grace,
            options=order.options,
        )  # fmt: skip

    def _make_directory(self, order: Order) -> None:
        for place in (self.place, self.place / "work", *([self.place / "steps"] if order.steps else [])):
            place.mkdir(mode=0o700, exist_ok=True)

    # -- letting go ------------------------------------------------------------------------------------------

    async def _let_go(self, *, keep: bool) -> None:
        """Nothing of it is left with the engine; its log is kept."""
        handed = self._handed or self._note()
        if handed is not None and not self.member.rank:
            executor = self._executor or await self.attempts.executor(handed.executor)
            job = handed.job
            if await executor.find(self.id, job) and (await executor.poll(self.id, job)).standing != "ended":
                await executor.cancel(self.id, job, kill=True)
                await executor.wait(self.id, job)
            if keep:
                kept = self.attempts.places.log(self.member.run, self.id)
                log = EngineLog(executor, self.id, job)
                await kept_log.write(log.lines(self.agent.clock), kept, _LOG_SIZE, _LOG_FILES)
            await executor.forget(self.id, job)
        await self._clearing.clear(keep=False)
        if self._shown:
            self.agent.forget_status(self.id)
        self.gone.set()

    def _write_note(self, order: Order, job: Job) -> None:
        note = Handed(
            executor=order.executor, run=self.member.run, path=self.member.path, rank=self.member.rank,
            number=self.number, job=replace(job, env={}),
        )  # fmt: skip
        draft = self.place / f".{NOTE}"
        draft.write_bytes(encode(note))
        os.replace(draft, self.place / NOTE)

    def _note(self) -> Handed | None:
        return read_note(self.place)

    # -- what people look at ---------------------------------------------------------------------------------

    async def logs(self, query: LogQuery) -> AsyncIterator[LogLine]:
        """What the engine tells; the time of a line is when it was first read here."""
        handed, executor = self._note(), self._executor
        if handed is None or executor is None:
            return
        log = EngineLog(executor, self.id, handed.job)
        async for line in log.chosen(query, self.agent.clock, lambda: self._said or self.gone.is_set()):
            yield line


def _not_there(template: AppSpec) -> Iterator[tuple[str, str]]:
    """What it asks for and an engine would pass over: what was meant to hold a command back must not be missed."""
    if template.user:
        yield f"run it as {template.user}: jobs there have the rights of the daemon's user", "user"
    if template.isolation != Isolation():
        yield "isolate it", "isolation"
    if template.network != NetworkOptions():
        yield "give it a network of its own", "network"
    if template.resources.pids:
        yield "limit its processes", "pids"


def read_note(place: Path) -> Handed | None:
    try:
        return decode((place / NOTE).read_bytes(), Handed)
    except (FileNotFoundError, *UNREADABLE):
        return None
