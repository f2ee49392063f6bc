"""One worker for each allocation of this node: it makes what runs match what the hive agreed.

Level-triggered: `_step` looks at the agreed allocation and at the newest instance of each of its containers, does
one thing and looks again. Nothing it needs is only in memory, so a daemon killed at any instant goes on where it
was.

An allocation is one-shot for the hive; on its node its containers may be started again and again. What is to be
done stands here; how it is done in `starting`, `running`, `ending` and `stopping`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from hivemind.agent.work.awaited import awaited
from hivemind.agent.work.charge import Charge
from hivemind.agent.work.compose import Place
from hivemind.agent.work.ending import Ending
from hivemind.agent.work.running import Running
from hivemind.agent.work.starting import Starting
from hivemind.agent.work.stopping import Stopping
from hivemind.agent.work.unit import Unit
from hivemind.agent.work.wanted import Interrupted
from hivemind.drivers.runtimes.contract import Container, Exit, Runtime, Status
from hivemind.errors import HivemindError
from hivemind.model.allocation import Allocation, AllocationState, Phase
from hivemind.model.app import AppSpec

if TYPE_CHECKING:
    from hivemind.agent.agent import Agent

log = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
"""Seconds until something that failed is tried again."""
_CUT_OFF = "stopped: this node is cut off from those that decide, and another may run elsewhere"


class Worker:
    """`found` are the allocation's containers that its runtime still has."""

    def __init__(
        self, agent: Agent, allocation: Allocation, spec: AppSpec, found: dict[Place, Container]
    ) -> None:
        self.id = allocation.id
        self._agent = agent
        self.charge = Charge(agent, allocation, spec, found)
        self._stopping = Stopping(self.charge)
        self._ending = Ending(self.charge, self._stopping)
        self._running = Running(self.charge, self._stopping, self.wake)
        self._starting = Starting(self.charge, self._ending, self._stopping, self._running.tend_all)
        self._stepped = asyncio.Event()
        self._resting = False
        """Nothing runs, nothing is attached, and that was said."""
        self._erased = False
        """The hive has forgotten it and nothing of it is left."""

    # -- events from outside ---------------------------------------------------------------------------------

    def wake(self) -> None:
        self.charge.wake.set()

    async def changed(self) -> None:
        """Returns when this worker has taken its next step."""
        await self._stepped.wait()

    def exited(self, place: Place, exit: Exit) -> None:
        unit = self.charge.unit(place.name)
        if unit:
            unit.exited(place.instance, exit)
        self.wake()

    @property
    def over(self) -> bool:
        """No further instance will come."""
        allocation = self._agent.state.allocations.get(self.id)
        return allocation is None or not allocation.live or self._resting

    @property
    def is_taken(self) -> bool:
        """It still runs, and the hive counts it as gone."""
        allocation = self._agent.state.allocations.get(self.id)
        lost = allocation is None or allocation.state is AllocationState.LOST
        return lost and any(unit.running for unit in self.charge.units)

    @property
    def runtime(self) -> Runtime:
        return self.charge.runtime

    # -- the loop --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until the hive has forgotten the allocation and nothing of it is left. Whatever fails is tried again."""
        pause = _FIRST_PAUSE
        try:
            while not self._erased:
                self.charge.wake.clear()
                try:
                    delay = await self._step()
                    pause = _FIRST_PAUSE
                except Interrupted:
                    continue
                except Exception as error:
                    self._failed(error)
                    delay, pause = pause, min(pause * 2, _LONGEST_PAUSE)
                self._stepped.set()
                self._stepped = asyncio.Event()
                if delay != 0 and not self._erased:
                    await self._woken(delay)
        finally:
            for unit in self.charge.units:
                unit.close_watch()

    async def _woken(self, seconds: float | None) -> None:
        try:
            # Not `wait_for`: in Python 3.11 that loses a cancellation which comes together with the wake.
            async with asyncio.timeout(seconds):
                await self.charge.wake.wait()
        except TimeoutError:
            pass

    def _failed(self, error: Exception) -> None:
        expected = isinstance(error, HivemindError | OSError)
        log.warning("allocation %s: %s", self.id, error, exc_info=None if expected else error)
        said = str(error) if expected else f"a defect: {error!r}"
        self.charge.observe(self.charge.main, message=said)

    async def _step(self) -> float | None:
        """Does one thing. Seconds until the next look; None: when woken; 0: at once."""
        charge = self.charge
        allocation = self._agent.state.allocations.get(self.id)
        if allocation is None:
            await self._stopping.erase()
            self._erased = True
            return None
        charge.allocation = allocation
        if charge.unwanted:
            if not self._resting:
                await self._stopping.halt()
                self._resting = True
                self._agent.fence.look_again()
            return None
        if charge.spec.on_partition == "stop" and self._agent.fence.cut_off:
            await self._stopping.step_aside(_CUT_OFF)
            return None
        for unit in charge.units:
            self._ending.note(unit)
        if await self._ending.settled(charge.main):
            return None
        if charge.begun:
            return await self._keep_running()
        return await self._come_up()

    async def _come_up(self) -> float | None:
        """For the first time since the machine was started: what the app waits for, then the init containers one
        after the other, then the sidecars, each ready before the next, then the app's own container."""
        charge = self.charge
        if why := self._agent.fence.closed:
            charge.waits = True
            charge.observe(charge.main, phase=Phase.WAITING, ready=False, message=why)
            return None
        if why := awaited(self._agent, charge):
            self._wait_for(why)
            return None
        charge.waits = False
        for unit in charge.inits:
            if not unit.done_in(self._agent.boot):
                if unit.container and unit.ran_in(self._agent.boot) and await self._ending.settled(unit):
                    return None
                return await self._keep(unit)
        looks = []
        for unit in charge.sidecars:
            looks.append(await self._keep(unit))
            if not unit.ready:
                return _soonest(looks)
        return await self._keep(charge.main)

    def _wait_for(self, why: str) -> None:
        charge = self.charge
        charge.waits = True
        charge.observe(charge.main, phase=Phase.WAITING, ready=False, message=why)
        if not charge.allocation.failing:
            charge.report_trouble(why, failing=False)

    async def _keep_running(self) -> float | None:
        """From then on each container is looked after on its own."""
        looks = [await self._keep(unit) for unit in (self.charge.main, *self.charge.sidecars)]
        looks.append(self._running.rise())
        return _soonest(looks)

    async def _keep(self, unit: Unit) -> float | None:
        """Makes one container run, or looks after it."""
        container = unit.container
        if container is None:
            return await self._starting.launch(unit, 0)
        if container.status is Status.RUNNING:
            self._running.tend(unit, container)
            return None
        if container.status is Status.CREATED:
            # The daemon died between create and start; nothing of it ever ran.
            await self._stopping.discard(unit, unit.newest)
            return 0
        if left := self._ending.waits(unit):
            return left
        await self._stopping.keep_few(unit)
        return await self._starting.launch(unit, unit.newest + 1)


def _soonest(looks: Iterable[float | None]) -> float | None:
    return min((look for look in looks if look is not None), default=None)
