"""What follows when a container of a charge has ended: noting it, backing off, giving up."""

from __future__ import annotations

from hivemind.agent.work.charge import Charge
from hivemind.agent.work.restarts import explain, judge
from hivemind.agent.work.stopping import Stopping, note_ending
from hivemind.agent.work.unit import Role, Unit
from hivemind.drivers.runtimes.contract import Container, Exit
from hivemind.model.allocation import AllocationState, Phase

_FAILING_AFTER = 2
"""Endings in a row before its first healthy moment that make an allocation count as failing."""
_SAID = 300
"""Characters of a check's last words that explain an ending: their end, where the error usually is."""
_SHORTEST = 0.5
"""Seconds at least until something that could not start is tried again."""


class Ending:
    def __init__(self, charge: Charge, stopping: Stopping) -> None:
        self._charge = charge
        self._stopping = stopping

    def note(self, unit: Unit) -> None:
        """Takes note of the newest instance's ending, once."""
        container, exit = unit.container, unit.ending
        if container is None or exit is None or unit.judged == unit.newest:
            return
        unit.judged = unit.newest
        why = self._explain(unit, exit)
        if _known(unit, exit):
            unit.trouble = why
            unit.close_watch()
            return
        if unit.role is Role.INIT and exit.code == 0:
            note_ending(self._charge, unit, exit, Phase.ENDED, why)
            return
        self._back_off(unit, container, exit, why)
        note_ending(self._charge, unit, exit, Phase.BACKOFF, why)

    async def settled(self, unit: Unit) -> bool:
        """Whether its ending ends the whole allocation, which was then given up."""
        exit, charge = unit.ending, self._charge
        if exit is None or (unit.role is Role.INIT and exit.code == 0):
            return False
        verdict = judge(charge.spec.restart, exit, unit.newest, unhealthy=unit.status.condemned)
        if verdict == "restart":
            return False
        why = self._explain(unit, exit)
        if unit.name:
            why = f"{unit.role} {unit.name}: {why}"
        state = AllocationState.COMPLETE if verdict == "complete" else AllocationState.FAILED
        await self.give_up(state, why, exit.code)
        return True

    def waits(self, unit: Unit) -> float:
        """Seconds until it may start again; 0: now."""
        left = unit.not_before - self._charge.agent.now()
        if left <= 0:
            return 0.0
        restart = unit.newest + 1
        self._charge.observe(
            unit,
            phase=Phase.BACKOFF,
            message=f"{unit.trouble}; back-off {unit.backoff.delay:g}s, restart {restart}",
        )
        return left

    def retry_later(self, unit: Unit, why: str) -> None:
        """It could not even start."""
        unit.backoff = unit.backoff.after_run(0)
        self._pause(unit, max(unit.backoff.delay, _SHORTEST))
        unit.trouble = why
        self._charge.observe(unit, phase=Phase.BACKOFF, ready=False, message=why)

    async def give_up(self, state: AllocationState, why: str, code: int | None) -> None:
        charge = self._charge
        await self._stopping.stop_beside()
        charge.observe(charge.main, phase=Phase.ENDED, ready=False, message=why)
        await self._stopping.release()
        charge.report(state, reason=why, exit_code=code)

    def _back_off(self, unit: Unit, container: Container, exit: Exit, why: str) -> None:
        ran = (exit.at - container.started) / 1000 if container.started and exit.at else 0.0
        unit.backoff = unit.backoff.after_run(ran)
        self._pause(unit, unit.backoff.delay)
        unit.trouble = why
        if not self._charge.ever_healthy and unit.backoff.failures >= _FAILING_AFTER:
            named = f"{unit.role} {unit.name}: {why}" if unit.name else why
            self._charge.report_failing(f"{named}, again and again")

    def _pause(self, unit: Unit, seconds: float) -> None:
        """Also remembered for a daemon that comes after this one."""
        agent = self._charge.agent
        unit.not_before = agent.now() + seconds
        self._charge.observe(
            unit,
            failures=unit.backoff.failures,
            resumes=agent.clock() + int(seconds * 1000) if seconds else 0,
        )

    def _explain(self, unit: Unit, exit: Exit) -> str:
        """Why the instance ended, with what its check said last if that was the reason."""
        if _known(unit, exit) and unit.status.last:
            return unit.status.last.reason
        why = explain(exit, unit.template.resources.memory)
        return f"unhealthy, {why} ({unit.status.message[-_SAID:]})" if unit.status.condemned else why


def _known(unit: Unit, exit: Exit) -> bool:
    """An earlier daemon took note of it."""
    last = unit.status.last
    return bool(last and (last.instance, last.ended) == (unit.newest, exit.at))
