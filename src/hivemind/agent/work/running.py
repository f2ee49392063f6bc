"""Tending the containers of a charge that run: readiness, health, and the report of it once it lasted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from hivemind.agent.checks.chosen import Checks, checks_of
from hivemind.agent.checks.health import Result
from hivemind.agent.checks.watch import Kind, Watch
from hivemind.agent.work.charge import Charge
from hivemind.agent.work.stopping import Stopping
from hivemind.agent.work.unit import Role, Unit
from hivemind.drivers.runtimes.contract import Container
from hivemind.errors import HivemindError
from hivemind.model.allocation import AllocationState, CheckResult, Phase
from hivemind.state.dependencies import start_is_awaited

_AGAIN = 1.0
"""Seconds until an unhealthy container that could not be stopped is told again."""

log = logging.getLogger(__name__)


class Running:
    def __init__(self, charge: Charge, stopping: Stopping, wake: Callable[[], None]) -> None:
        self._charge = charge
        self._stopping = stopping
        self._wake = wake

    def tend(self, unit: Unit, container: Container) -> None:
        charge = self._charge
        watch = unit.watch = unit.watch or self._begin(unit, container)
        trouble = self._unpublished() if unit is charge.main and watch.ready else ""
        changes = {
            "ready": watch.ready and not watch.dying and unit.role is not Role.INIT,
            "health": watch.health,
            "settled": watch.settled,
            "condemned": unit.status.condemned and (watch.dying or not watch.ready),
            "message": trouble or watch.message,
        }
        if any(getattr(unit.status, field) != value for field, value in changes.items()):
            charge.observe(unit, **changes, checks=unit.history.latest)
        if watch.failed and not watch.dying:
            self._unhealthy(unit, container, watch)

    def tend_all(self) -> float | None:
        """What runs, while something else of the charge is worked on."""
        for unit in self._charge.units:
            if unit.running:
                self.tend(unit, unit.running)
        return self.rise()

    def rise(self) -> float | None:
        """Tells the hive what it waits for: that it has started, that all of it is healthy. Seconds until it may be."""
        charge = self._charge
        if charge.main.running is None:
            return None
        self._report_start()
        parts = [*charge.sidecars, charge.main]
        if not all(unit.ready and unit.watch for unit in parts):
            return None
        if trouble := self._unpublished():
            charge.report_failing(trouble)
            return None
        since = max(unit.watch.ready_since for unit in parts if unit.watch)
        left = since + charge.spec.update.min_healthy_time - charge.agent.now()
        if left > 0:
            return left
        charge.ever_healthy = True
        if charge.allocation.state < AllocationState.HEALTHY:
            charge.report(AllocationState.HEALTHY)
        return None

    def _report_start(self) -> None:
        """Only where an app waits for just that: being healthy tells it, too."""
        charge, known = self._charge, self._charge.allocation
        if known.state >= AllocationState.HEALTHY or known.started:
            return
        if start_is_awaited(charge.agent.state, known):
            charge.report(AllocationState.PLACED, started=True, failing=known.failing, reason=known.reason)

    def _unpublished(self) -> str:
        return self._charge.agent.endpoints.failure_of(self._charge.spec)

    def _begin(self, unit: Unit, container: Container) -> Watch:
        """Whatever an earlier daemon observed may have been lost, so all of it is observed again."""
        charge = self._charge
        attached = charge.network.attachments().get(charge.id)
        if attached:
            charge.locate(attached.ip, dict(attached.ports))
        charge.observe(
            unit, phase=Phase.RUNNING, pid=container.pid, started=container.started, instance=unit.newest,
            image_digest=container.image,
        )  # fmt: skip
        adopted, unit.adopted = unit.adopted, False
        number = unit.newest
        checks = Checks() if unit.role is Role.INIT else checks_of(unit.template, container.labels)
        return Watch(
            charge.agent.probe_target(charge, unit),
            checks,
            changed=self._wake,
            record=lambda kind, result, budget: self._record(unit, number, kind, result, budget),
            was_ready=adopted,
            settled=unit.status.settled,
        )

    def _record(self, unit: Unit, number: int, kind: Kind, result: Result, budget: float) -> None:
        found = CheckResult(
            time=self._charge.agent.clock(), check=kind, container=unit.name, instance=number,
            outcome=result.outcome(budget), latency=round(result.latency, 6), output=result.output,
        )  # fmt: skip
        unit.history.add(found)
        if kind == "post-start" and not result.ok:
            self._charge.event("allocation.hook-failed", f"post-start: {result.output}", unit, warning=True)

    def _unhealthy(self, unit: Unit, container: Container, watch: Watch) -> None:
        charge = self._charge
        if charge.spec.restart.policy == "no" and unit.role is Role.MAIN:
            if not charge.ever_healthy:
                charge.report_failing(f"unhealthy: {watch.message}")
            return
        watch.dying = True
        charge.observe(unit, ready=False, condemned=True)
        charge.event("allocation.unhealthy", watch.message, unit, warning=True)
        charge.agent.spawn(self._stop(unit, container, watch))

    async def _stop(self, unit: Unit, container: Container, watch: Watch) -> None:
        try:
            await self._stopping.end(unit, container)
        except (HivemindError, OSError) as error:
            log.warning("allocation %s: %s", self._charge.id, error)
            await asyncio.sleep(_AGAIN)
            watch.dying = False
            self._wake()
