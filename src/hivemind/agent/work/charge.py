"""A charge: one allocation in the care of this node. What is agreed about it, what runs of it, and what is said.

The workers' other files act on it: `starting`, `running`, `ending`, `stopping`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import asdict, replace

from hivemind.agent.work.compose import Place
from hivemind.agent.work.unit import Role, Unit
from hivemind.agent.work.wanted import while_wanted
from hivemind.drivers.runtimes.contract import Container
from hivemind.model.allocation import (
    Allocation,
    AllocationState,
    AllocationStatus,
    CompanionStatus,
    Desired,
    Phase,
)
from hivemind.model.app import AppSpec
from hivemind.state.operations import AllocationReport

if TYPE_CHECKING:
    from hivemind.agent.agent import Agent

T = TypeVar("T")


class Charge:
    """`found` are its containers that a runtime still has."""

    def __init__(
        self, agent: Agent, allocation: Allocation, spec: AppSpec, found: dict[Place, Container]
    ) -> None:
        self.agent = agent
        self.id = allocation.id
        self.allocation = allocation
        """As agreed when the worker last looked."""
        self.spec = spec
        self.runtime = agent.runtime_for(spec)
        self.network = agent.network_for(spec)
        self.wake = asyncio.Event()
        self.waits = False
        """For apps that it depends on."""
        self.ever_healthy = allocation.state is AllocationState.HEALTHY
        self.inits = [Unit(c.name, Role.INIT, c, _of(found, c.name)) for c in spec.init_containers]
        self.sidecars = [Unit(c.name, Role.SIDECAR, c, _of(found, c.name)) for c in spec.sidecars]
        self.main = Unit("", Role.MAIN, spec, _of(found, ""))
        self._status = agent.last_status(self.id) or AllocationStatus(runtime=self.runtime.name)
        self._where: dict[str, Any] = {"ip": self._status.ip, "ports": self._status.ports}
        self._recall()

    def _recall(self) -> None:
        now, clock = self.agent.now(), self.agent.clock()
        self.main.recall(self._status, now, clock)
        companions = {companion.name: companion for companion in self._status.companions}
        for unit in (*self.inits, *self.sidecars):
            if unit.name in companions:
                unit.recall(companions[unit.name], now, clock)

    @property
    def units(self) -> Iterator[Unit]:
        """In the order they start."""
        yield from self.inits
        yield from self.sidecars
        yield self.main

    def unit(self, name: str) -> Unit | None:
        return next((unit for unit in self.units if unit.name == name), None)

    @property
    def begun(self) -> bool:
        """The app's own container was started since the machine was: what had to come before it has come."""
        return self.main.running is not None or self.main.ran_in(self.agent.boot)

    @property
    def unwanted(self) -> bool:
        allocation = self.agent.state.allocations.get(self.id)
        return allocation is None or allocation.state.ended or allocation.desired is Desired.STOP

    @property
    def condemned(self) -> bool:
        """It shall stop at once, without its grace period."""
        allocation = self.agent.state.allocations.get(self.id)
        return allocation is not None and allocation.kill

    # -- waiting ---------------------------------------------------------------------------------------------

    async def unless_unwanted(
        self, awaitable: Awaitable[T], meanwhile: Callable[[], float | None] = lambda: None
    ) -> T:
        """Waits, but not longer than the hive wants this allocation. `meanwhile` is called whenever something
        happens, and again after the seconds it says."""
        return await while_wanted(awaitable, self.wake, lambda: self.unwanted, meanwhile)

    # -- saying ----------------------------------------------------------------------------------------------

    def locate(self, ip: str, ports: dict[str, int]) -> None:
        """Where it answers; told with the next observation."""
        self._where = {"ip": ip, "ports": ports}

    def endpoint_is_back(self) -> None:
        """After it was withdrawn: whenever it is ready again, it is sent to."""
        self.agent.endpoints.forget(self.id)

    def observe(self, unit: Unit, **changes: Any) -> None:
        """Writes to the shared store what is new."""
        unit.status = replace(unit.status, **changes)
        fresh = self._composed()
        if fresh != self._status or not fresh.observed:
            self._status = replace(fresh, observed=self.agent.clock())
            self.agent.put_status(self.id, self._status)

    def _composed(self) -> AllocationStatus:
        own = asdict(self.main.status)
        if own["ready"] and (missing := next((unit for unit in self.sidecars if not unit.ready), None)):
            own["ready"] = False
            own["message"] = own["message"] or f"sidecar {missing.name}: {_state(missing)}"
        own |= self._coming_up(own["phase"])
        return AllocationStatus(
            **own, **self._where, runtime=self.runtime.name, boot=self.agent.boot,
            companions=tuple(
                CompanionStatus(name=unit.name, role="init" if unit.role is Role.INIT else "sidecar",
                                **asdict(unit.status))
                for unit in (*self.inits, *self.sidecars)
            ),
            observed=self._status.observed,
        )  # fmt: skip

    def _coming_up(self, phase: Phase) -> dict[str, Any]:
        """Before the app's own container starts, the one that it waits for speaks for the whole."""
        if self.waits or self.begun or phase in (Phase.STOPPING, Phase.ENDED):
            return {}
        for number, unit in enumerate(self.inits, 1):
            if not unit.done_in(self.agent.boot):
                return _told(unit, f"init {number}/{len(self.inits)}: {unit.name}")
        for unit in self.sidecars:
            if not unit.ready:
                return _told(unit, f"sidecar {unit.name}")
        return {}

    @property
    def was_ready(self) -> bool:
        """As last said."""
        return self._status.ready

    def event(self, type: str, message: str, unit: Unit | None = None, *, warning: bool = False) -> None:
        said = f"{unit.name}: {message}" if unit and unit.name else message
        self.agent.event(self.allocation, type, said, warning=warning)

    def report(self, state: AllocationState, **more: Any) -> None:
        self.agent.reporter.report(AllocationReport(id=self.id, state=state, **more))

    def report_failing(self, why: str) -> None:
        self.report_trouble(why, failing=True)

    def report_trouble(self, why: str, *, failing: bool) -> None:
        known = (self.allocation.failing, self.allocation.reason)
        if self.allocation.state < AllocationState.HEALTHY and known != (failing, why):
            self.report(AllocationState.PLACED, failing=failing, reason=why)


def _of(found: dict[Place, Container], name: str) -> dict[int, Container]:
    return {place.instance: container for place, container in found.items() if place.name == name}


def _state(unit: Unit) -> str:
    return unit.status.message or (
        "not ready" if unit.status.phase is Phase.RUNNING else str(unit.status.phase)
    )


def _told(unit: Unit, what: str) -> dict[str, Any]:
    """`init 1/2: migrate`, with what is wrong with it."""
    phase = Phase.STARTING if unit.status.phase is Phase.RUNNING else unit.status.phase
    said = f"{what}: {unit.status.message}" if unit.status.message else what
    return {"phase": Phase.STARTING if phase is Phase.ENDED else phase, "message": said}
