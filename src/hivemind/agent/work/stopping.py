"""Stopping: one container, all of a charge in the right order, and leaving nothing of it behind."""

from __future__ import annotations

import asyncio
import logging

from msgspec.structs import replace

from hivemind.agent.checks.probes import Prober
from hivemind.agent.work.charge import Charge
from hivemind.agent.work.deadline import WORK, within
from hivemind.agent.work.restarts import explain
from hivemind.agent.work.unit import Unit
from hivemind.agent.work.wanted import Interrupted, while_wanted
from hivemind.drivers.runtimes.contract import Container, Exit, Status
from hivemind.model.allocation import AllocationState, CheckResult, Ending, Phase

_INSTANCES_KEPT = 2
"""The running instance and the one before it, whose log tells why it ended."""
_SETTLE = 0.2
"""Seconds between leaving the balancing and the stop signal: connections that were being made get through."""
_LAST_WORD = 1.0
"""Seconds between stop signal and SIGKILL at least, when the pre-stop hook took all of the grace."""

log = logging.getLogger(__name__)


class Stopping:
    def __init__(self, charge: Charge) -> None:
        self._charge = charge

    async def halt(self) -> None:
        """Nothing of it runs, nothing is attached, and the hive knows."""
        charge, allocation = self._charge, self._charge.allocation
        for unit in charge.units:
            if unit.container and unit.container.status is Status.CREATED:
                await self.discard(unit, unit.newest)
        if any(unit.running for unit in charge.units):
            await self._leave()
        for unit in reversed(list(charge.units)):
            await self._stopped(unit)
        await self.release()
        exit = charge.main.ending
        charge.observe(charge.main, phase=Phase.ENDED, ready=False, pid=0, message=allocation.reason)
        if not allocation.state.ended:
            charge.report(
                AllocationState.STOPPED, reason=allocation.reason, exit_code=exit.code if exit else None
            )

    async def step_aside(self, why: str) -> None:
        """Nothing of it runs for the time being; the hive was not asked. That its containers ended counts for nothing,
        so they are not kept."""
        charge = self._charge
        if any(unit.instances for unit in charge.units):
            await self._leave()
            for unit in reversed(list(charge.units)):
                await self._stopped(unit)
                for number in sorted(unit.instances):
                    await self.discard(unit, number)
                unit.judged = -1
            await self.release()
        charge.endpoint_is_back()
        charge.observe(charge.main, phase=Phase.WAITING, ready=False, pid=0, message=why)

    async def stop_beside(self) -> None:
        """Everything but the app's own container, which has ended or never ran."""
        for unit in reversed([*self._charge.inits, *self._charge.sidecars]):
            await self._stopped(unit)

    async def end(self, unit: Unit, container: Container) -> Exit:
        """The pre-stop hook, the stop signal, and SIGKILL when the grace is over, or as soon as it shall be at once."""
        charge = self._charge
        try:
            exit = await while_wanted(self._gently(unit, container), charge.wake, lambda: charge.condemned)
        except Interrupted:
            stopped = charge.runtime.stop(container.id, "SIGKILL", 0)
            exit = await within(WORK, stopped, "killing the container")
        charge.wake.set()  # What else it was woken for meanwhile is looked at afterwards.
        return exit

    async def _gently(self, unit: Unit, container: Container) -> Exit:
        charge, grace = self._charge, unit.template.stop.grace
        began = charge.agent.now()
        await self._pre_stop(unit)
        left = grace - (charge.agent.now() - began)
        if unit.template.pre_stop:
            left = max(left, min(grace, _LAST_WORD))
        asked = charge.agent.now()
        exit = await within(
            left + WORK,
            charge.runtime.stop(container.id, _stop_signal(container), left),
            "stopping the container",
        )
        if exit.signal == 9 and left > 0 and charge.agent.now() - asked >= left:
            charge.event(
                "allocation.killed",
                f"it did not end within {grace:g}s of {_stop_signal(container)} and was killed",
                unit,
                warning=True,
            )
        return exit

    async def erase(self) -> None:
        """The hive has forgotten it: nothing of it may be left."""
        charge = self._charge
        for unit in charge.units:
            unit.close_watch()
        await charge.agent.endpoints.withdraw(charge.id)
        for unit in reversed(list(charge.units)):
            for number in sorted(unit.instances):
                await self.discard(unit, number)
        await self.release()
        charge.agent.endpoints.forget(charge.id)
        charge.agent.forget_status(charge.id)

    async def release(self) -> None:
        charge = self._charge
        await within(WORK, charge.network.detach(charge.id), "removing its network")
        for provider in charge.agent.providers:
            await within(WORK, provider.release(charge.id), "letting go of its volumes")

    async def discard(self, unit: Unit, number: int) -> None:
        container = unit.instances.get(number)
        if container:
            await within(WORK, self._charge.runtime.remove(container.id), "removing the container")
            unit.instances.pop(number, None)

    async def keep_few(self, unit: Unit) -> None:
        """Before another instance starts."""
        for number in sorted(unit.instances)[: 1 - _INSTANCES_KEPT]:
            await self.discard(unit, number)

    async def _leave(self) -> None:
        """Out of the balancing, before anything is told to stop."""
        charge = self._charge
        was_ready = charge.was_ready
        charge.observe(charge.main, phase=Phase.STOPPING, ready=False, message=charge.allocation.reason)
        await charge.agent.endpoints.withdraw(charge.id)
        if was_ready and (charge.spec.service or any(p.host for p in charge.spec.ports)):
            await asyncio.sleep(_SETTLE)

    async def _stopped(self, unit: Unit) -> None:
        unit.close_watch()
        container = unit.running
        if container:
            if unit.name:
                self._charge.observe(unit, phase=Phase.STOPPING, ready=False)
            exit = await self.end(unit, container)
            unit.instances[unit.newest] = replace(container, status=Status.EXITED, pid=0, exit=exit)
        if ending := unit.ending:
            why = explain(ending, unit.template.resources.memory)
            note_ending(self._charge, unit, ending, Phase.ENDED if unit.name else Phase.STOPPING, why)

    async def _pre_stop(self, unit: Unit) -> None:
        """Its failure stops nothing: the container ends all the same."""
        hook, agent = unit.template.pre_stop, self._charge.agent
        if hook is None:
            return
        budget = min(hook.timeout or unit.template.stop.grace, unit.template.stop.grace)
        prober = Prober.of_hook(hook, agent.probe_target(self._charge, unit), budget)
        result = await prober.probe()
        unit.history.add(
            CheckResult(
                time=agent.clock(), check="pre-stop", container=unit.name, instance=unit.newest,
                outcome=result.outcome(budget), latency=round(result.latency, 6), output=result.output,
            )
        )  # fmt: skip
        if not result.ok:
            self._charge.event("allocation.hook-failed", f"pre-stop: {result.output}", unit, warning=True)


def note_ending(charge: Charge, unit: Unit, exit: Exit, phase: Phase, why: str) -> None:
    """Once for each instance."""
    unit.close_watch()
    number, container, last = unit.newest, unit.container, unit.status.last
    if container is None or (last and (last.instance, last.ended) == (number, exit.at)):
        return  # An earlier daemon took note of it.
    ending = Ending(
        instance=number, exit_code=exit.code, signal=exit.signal, oom=exit.oom, reason=why,
        started=container.started, ended=exit.at or charge.agent.clock(),
    )  # fmt: skip
    charge.observe(
        unit, phase=phase, ready=False, pid=0, last=ending, message=why, checks=unit.history.latest
    )
    unexpected = phase is Phase.BACKOFF and exit.code != 0
    charge.event("allocation.exited", f"instance {number}: {why}", unit, warning=unexpected)


def _stop_signal(container: Container) -> str:
    return container.labels.get("hivemind.stop-signal", "SIGTERM")
