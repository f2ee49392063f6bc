"""One attempt of a task on this node: begun at most once, followed to its end, reported, and cleared away.

Level-triggered as the workers of replicas are, and much lighter: `_step` looks at what was agreed and at what there
is, does one thing and looks again. What it must remember lies with the runtime (the container and how it ended) and
in the attempt's directory, so a daemon that is killed at any instant goes on where it was:

    nothing there            it is begun, once: whoever finds a container that may have run never makes another
    created, never started   it is removed, and begun
    running                  it is waited for, until its time is over or it shall stop
    ended                    what it left is collected, then the hive is told, again and again until it has agreed
    the hive has taken note  its log is kept, and everything else of it goes
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from hivemind.agent.logs import read_instance
from hivemind.agent.tasks import outcome
from hivemind.agent.tasks.beginning import Beginning
from hivemind.agent.tasks.clearing import Clearing
from hivemind.agent.tasks.collecting import Collecting
from hivemind.agent.tasks.compose import PLACE, WORKDIR, Member
from hivemind.agent.work.compose import container_id
from hivemind.agent.work.deadline import WORK, within
from hivemind.agent.work.wanted import Interrupted, while_wanted
from hivemind.drivers.runtimes.contract import Container, Exit, LogLine, LogQuery, Runtime, Status
from hivemind.errors import Conflict, Corrupt, HivemindError, Invalid, NotFound, Unsupported
from hivemind.jobs.order import Order
from hivemind.model.allocation import Allocation, AllocationState, AllocationStatus, Desired, Phase
from hivemind.state.operations import AllocationReport

if TYPE_CHECKING:
    from hivemind.agent.tasks.attempts import Attempts

T = TypeVar("T")
log = logging.getLogger(__name__)

HOPELESS = (NotFound, Invalid, Unsupported, Corrupt)
"""What trying again does not help against."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
"""Seconds until something that failed is tried again."""
LASTING = 6
"""Beginnings in vain after which trouble that might pass is taken for lasting."""
_AFTER = 0.02
"""Seconds until what has ended is cleared away: tasks that waited for it begin first."""
_SHOWN_AFTER = 1.0
"""Seconds that an attempt lives before the others are shown what it does: of a short one only its end is told."""


class Attempt:
    """`runtime` and `container`: what a runtime still has of it. Without an allocation it only is cleared away."""

    def __init__(
        self,
        attempts: Attempts,
        id: str,
        member: Member,
        number: int,
        *,
        runtime: Runtime | None = None,
        container: Container | None = None,
        adopted: bool = False,
    ) -> None:
        self.attempts = attempts
        self.agent = attempts.agent
        self.id = id
        self.member = member
        self.number = number
        self.runtime = runtime
        self.container = container
        self.adopted = adopted
        """It may have been begun before this daemon was."""
        self.place = attempts.places.live(container.labels.get(PLACE, id) if container else id)
        self.gone = asyncio.Event()
        """Nothing of it is here any more."""
        self.ip = ""
        self.provided = adopted
        self.attached = adopted
        """It may have volumes and the like, or a network."""
        self._wake = asyncio.Event()
        self._news: list[asyncio.Future[None]] = []
        self.known_order: Order | None = None
        self._said = False
        self._fenced = False
        self._rested = False
        self._stopped = False
        """It ended because this daemon told it to."""
        self._failures = 0
        self._phase = Phase.WAITING
        self._message = ""
        self._shown = adopted and self.agent.last_status(id) is not None
        self._deadline: float | None = None
        self._beginning = Beginning(self)
        self._collecting = Collecting(self)
        self._clearing = Clearing(self)

    # -- events from outside ---------------------------------------------------------------------------------

    def wake(self) -> None:
        self._wake.set()

    def exited(self, exit: Exit) -> None:
        if self.container is not None:
            self.container = replace(self.container, status=Status.EXITED, pid=0, exit=exit)
            self.wake()

    def fence(self) -> None:
        """A newer attempt of the same task shall run here: this one ends now."""
        self._fenced = True
        self.wake()

    # -- the loop --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until nothing of it is left. Whatever fails is tried again."""
        loop = asyncio.get_running_loop()
        showing = loop.call_later(_SHOWN_AFTER, self._show)
        pause = _FIRST_PAUSE
        try:
            while not self.gone.is_set():
                self._wake.clear()
                try:
                    await self._step()
                    pause = _FIRST_PAUSE
                except Interrupted:
                    continue
                except Exception as error:
                    self._failed(error)
                    await self._woken(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)
        finally:
            showing.cancel()
            self._tell_news()

    async def _step(self) -> None:
        """Does one thing, or waits until there is something to do."""
        allocation = self.agent.state.allocations.get(self.id)
        if allocation is None or allocation.state.ended or self._fenced:
            if self._said and not self._fenced and not self._rested:
                self._rested = True
                await self._woken(_AFTER)
                return
            await self._clearing.clear(keep=allocation is not None or self._remembered)
            if self._shown:
                self.agent.forget_status(self.id)
            self.gone.set()
        elif self._said:
            await self._woken(None)
        elif self.container is not None and self.container.status is Status.EXITED:
            await self._end(allocation, self.container)
        elif self.container is not None and self.container.status is Status.RUNNING:
            await self._follow(allocation, self.container)
        elif allocation.desired is Desired.STOP:
            self._say(outcome.stopped(allocation, None, started=0, now=self.agent.clock()))
        elif self.container is not None:
            await self._clearing.discard(self.container)  # a daemon died before it could start it
        elif self.adopted and self.attempts.rebooted:
            why = "the machine was started anew, and whether it had begun is not known"
            self._say(outcome.lost(allocation, why, self.agent.clock()))
        elif why := self.agent.fence.closed:
            self.observe(Phase.WAITING, why)
            await self._woken(None)
        else:
            await self._begin(allocation)

    async def _begin(self, allocation: Allocation) -> None:
        try:
            await self.attempts.make_way(self)
            await self._beginning.begin(allocation, self.order())
        except HOPELESS as error:
            self._say(outcome.not_started(allocation, error, self.agent.clock()))
        except HivemindError as error:
            self._failures += 1
            if self._failures >= LASTING:
                self._say(outcome.not_started(allocation, error, self.agent.clock()))
                return
            self.observe(Phase.BACKOFF, error.message)
            await self._pause(min(_FIRST_PAUSE * 2**self._failures, _LONGEST_PAUSE))

    async def _follow(self, allocation: Allocation, container: Container) -> None:
        order = self.order()
        if allocation.desired is Desired.STOP:
            self.observe(Phase.STOPPING, allocation.reason)
            await self.end(container, 0.0 if allocation.kill else order.template.stop.grace)
            return
        left = self._left(order, container)
        if left is not None and left <= 0:
            self._collecting.note_late(order)
            self.observe(Phase.STOPPING, "its time is over")
            await self.end(container, order.template.stop.grace)
            return
        self.observe(Phase.RUNNING)
        await self._woken(left)

    async def end(self, container: Container, grace: float) -> None:
        """The stop signal, and the end of all of it after the grace; at once, as soon as it shall be so."""
        assert self.runtime is not None
        runtime, signal = self.runtime, container.labels.get("hivemind.stop-signal", "SIGTERM")
        stopping = asyncio.ensure_future(
            within(grace + WORK, runtime.stop(container.id, signal, grace), "stopping the container")
        )
        try:
            killed = not grace
            while not stopping.done():
                self._wake.clear()
                if not killed and self._shall_die():
                    killed = True
                    await within(WORK, runtime.stop(container.id, "SIGKILL", 0), "killing the container")
                waker = asyncio.ensure_future(self._wake.wait())
                try:
                    await asyncio.wait((stopping, waker), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    waker.cancel()
            exit = stopping.result()
        finally:
            stopping.cancel()
        self._stopped = True
        self.container = replace(container, status=Status.EXITED, pid=0, exit=exit)

    async def _end(self, allocation: Allocation, container: Container) -> None:
        exit = container.exit or Exit(code=None, reason="it ended while nobody looked")
        if allocation.desired is Desired.STOP and (self._stopped or self.adopted):
            started, now = container.started, self.agent.clock()
            self._say(outcome.stopped(allocation, exit, started=started, now=now))
            return
        self._say(await self._collecting.report(allocation, self.order(), container, exit))

    def _shall_die(self) -> bool:
        allocation = self.agent.state.allocations.get(self.id)
        return allocation is None or allocation.state.ended or allocation.kill or self._fenced

    @property
    def _remembered(self) -> bool:
        return self.member.run in self.agent.state.runs

    # -- what the parts need ---------------------------------------------------------------------------------

    def order(self) -> Order:
        if self.known_order is None:
            allocation = self.agent.state.allocations[self.id]
            self.known_order = self.attempts.order_of(self.agent.state, allocation)
        return self.known_order

    @property
    def unwanted(self) -> bool:
        allocation = self.agent.state.allocations.get(self.id)
        gone = allocation is None or allocation.state.ended or allocation.desired is Desired.STOP
        return gone or self._fenced

    async def while_wanted(self, awaitable: Awaitable[T]) -> T:
        return await while_wanted(awaitable, self._wake, lambda: self.unwanted)

    async def look(self) -> Container | None:
        """What its runtime has of it, whatever was heard so far."""
        assert self.runtime is not None
        name = container_id(self.id, 0)
        return next((found for found in await self.runtime.list() if found.id == name), None)

    @property
    def is_taken(self) -> bool:
        """It still runs, and the hive counts it as gone."""
        allocation = self.agent.state.allocations.get(self.id)
        lost = allocation is None or allocation.state is AllocationState.LOST
        return lost and self.running is not None

    def lost(self, allocation: Allocation, why: str) -> None:
        self._say(outcome.lost(allocation, why, self.agent.clock()))

    def observe(self, phase: Phase, message: str = "", *, ip: str | None = None) -> None:
        """What everybody may see of it once it has lived for a while."""
        self.ip = self.ip if ip is None else ip
        if (phase, message) == (self._phase, self._message):
            return
        self._phase, self._message = phase, message
        if self._shown:
            self._put()
        if self._news:
            self._tell_news()

    def show(self) -> None:
        """From now on, however short it lives."""
        self._shown = True
        self._put()

    def _show(self) -> None:
        if not self.gone.is_set() and self.agent.state.allocations.get(self.id) is not None:
            self.show()

    def _put(self) -> None:
        container = self.container
        self.agent.put_status(
            self.id,
            AllocationStatus(
                phase=self._phase,
                message=self._message,
                pid=container.pid if container else 0,
                started=container.started if container else 0,
                image_digest=container.image if container else "",
                ip=self.ip,
                runtime=self.runtime.name if self.runtime else "",
                boot=self.agent.boot,
                observed=self.agent.clock(),
            ),
        )

    # -- saying ----------------------------------------------------------------------------------------------

    def _say(self, report: AllocationReport) -> None:
        """Nothing more is done until the hive has agreed."""
        self._said = True
        self.observe(Phase.ENDED, report.reason)
        self.agent.reporter.report(report)

    def _failed(self, error: Exception) -> None:
        expected = isinstance(error, HivemindError | OSError)
        log.warning("attempt %s: %s", self.id, error, exc_info=None if expected else error)
        self.observe(self._phase, str(error) if expected else f"a defect: {error!r}")

    # -- waiting ---------------------------------------------------------------------------------------------

    def _left(self, order: Order, container: Container) -> float | None:
        """Seconds that it may still take."""
        if not order.timeout:
            return None
        if self._deadline is None:
            ran = max(0, self.agent.clock() - container.started) / 1000
            self._deadline = self.agent.now() + order.timeout - ran
        return self._deadline - self.agent.now()

    async def _woken(self, seconds: float | None) -> None:
        if seconds is None:
            await self._wake.wait()
            return
        alarm = asyncio.get_running_loop().call_later(max(seconds, 0), self._wake.set)
        try:
            await self._wake.wait()
        finally:
            alarm.cancel()

    async def _pause(self, seconds: float) -> None:
        """Not shortened by what does not concern it: only by no longer being wanted."""
        await self.while_wanted(asyncio.sleep(seconds))

    # -- what people look at ---------------------------------------------------------------------------------

    @property
    def running(self) -> tuple[Runtime, str] | None:
        container = self.container
        if container is None or self.runtime is None or container.status is not Status.RUNNING:
            return None
        return self.runtime, container.id

    def must_run(self, companion: str = "") -> tuple[Runtime, str]:
        if companion:
            raise NotFound(
                f"attempt {self.id} has no container {companion!r}", hint="a task has only its own"
            )
        if (running := self.running) is None:
            raise Conflict(f"attempt {self.id} does not run", hint="hivemind job status shows what does")
        return running

    @property
    def workdir(self) -> str:
        return self.container.labels.get(WORKDIR, "/") if self.container else "/"

    @property
    def made(self) -> tuple[Runtime, str] | None:
        """Also of one that has ended."""
        return (self.runtime, self.container.id) if self.container and self.runtime else None

    async def logs(self, query: LogQuery) -> AsyncIterator[LogLine]:
        while self.container is None and query.follow and not self.gone.is_set() and not self._said:
            news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._news.append(news)
            await news
        if made := self.made:
            async for line in read_instance(*made, query):
                yield line

    def _tell_news(self) -> None:
        news, self._news = self._news, []
        for one in news:
            if not one.done():
                one.set_result(None)
