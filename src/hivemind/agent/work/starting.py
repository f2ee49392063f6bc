"""Starting one container of a charge: image, address, volumes, then the container itself."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from hivemind.agent.provision.contract import provide
from hivemind.agent.work.charge import Charge
from hivemind.agent.work.compose import Place, compose, user_of
from hivemind.agent.work.deadline import WORK, within
from hivemind.agent.work.ending import Ending
from hivemind.agent.work.stopping import Stopping
from hivemind.agent.work.unit import Unit
from hivemind.drivers.network.contract import Attachment
from hivemind.drivers.runtimes.contract import Container, ContainerSpec, Status
from hivemind.errors import Conflict, HivemindError, Invalid, NotFound, Unsupported
from hivemind.model.allocation import AllocationState, Phase
from hivemind.model.image import Image, ImageConfig

_LASTING = 6
"""Attempts in vain (some eight seconds, and what they take themselves) after which trouble that might pass is taken
for lasting: an update goes back rather than wait for a registry that cannot be reached."""


class Starting:
    """`meanwhile` tends what runs while an image is fetched."""

    def __init__(
        self, charge: Charge, ending: Ending, stopping: Stopping, meanwhile: Callable[[], float | None]
    ) -> None:
        self._charge = charge
        self._ending = ending
        self._stopping = stopping
        self._meanwhile = meanwhile

    async def launch(self, unit: Unit, number: int) -> float | None:
        """Seconds until the next look: see `Worker`."""
        charge = self._charge
        wait = unit.not_before - charge.agent.now()
        if wait > 0:
            return wait
        try:
            await self._start(unit, number)
        except (NotFound, Invalid, Unsupported) as error:
            why = f"{error.message} ({error.hint})" if error.hint else error.message
            await self._stopping.discard(unit, number)
            if charge.spec.restart.policy == "no" and not charge.begun:
                await self._ending.give_up(AllocationState.FAILED, _named(unit, why), None)
                return None
            # Trying again may help (an image may be pushed), but a deployment need not wait for it.
            charge.report_failing(_named(unit, why))
            self._ending.retry_later(unit, why)
        except HivemindError as error:
            await self._stopping.discard(unit, number)
            if not charge.allocation.failing:
                # It may pass, so a deployment waits a while, and shall know for what.
                lasting = unit.backoff.failures + 1 >= _LASTING
                charge.report_trouble(_named(unit, error.message), failing=lasting)
            self._ending.retry_later(unit, error.message)
        return 0

    async def _start(self, unit: Unit, number: int) -> None:
        charge, agent = self._charge, self._charge.agent
        image = await self._image(unit)
        charge.observe(unit, phase=Phase.STARTING, message="", instance=number, settled=False)
        container = await self._composed(unit, number, image)
        await self._create(unit, number, container)
        if unit is charge.main:
            await agent.looking.offer(charge.allocation, charge.runtime, container.id)
        pid = await within(WORK, charge.runtime.start(container.id), "starting the container")
        now = agent.clock()
        made = unit.instances[number]
        if made.status is Status.CREATED:
            unit.instances[number] = replace(made, status=Status.RUNNING, pid=pid, started=now)
        charge.observe(
            unit, phase=Phase.RUNNING, pid=pid, started=now, image_digest=container.image, restarts=number,
            health="none", condemned=False, message="",
        )  # fmt: skip
        charge.event("allocation.started", f"instance {number} runs with pid {pid}", unit)

    async def _composed(self, unit: Unit, number: int, image: Image | None) -> ContainerSpec:
        charge, agent = self._charge, self._charge.agent
        attachment = await self._attached()
        user = user_of(unit.template, image.config if image else ImageConfig())
        # Without a deadline: a large volume that is copied takes its time. But nobody waits who is not wanted.
        needs = provide(agent.providers, charge.allocation, charge.spec, unit.template, user)
        provision = await charge.unless_unwanted(needs, self._meanwhile)
        return compose(
            charge.allocation, unit.template, image, attachment, provision,
            place=Place(charge.id, number, unit.name), node_name=agent.node_name,
            search=f"{charge.allocation.project}.hive", options=charge.spec.network, boot=agent.boot,
        )  # fmt: skip

    async def _attached(self) -> Attachment:
        """All containers of an allocation share its address."""
        charge = self._charge
        ports = [f"{p.container}/{p.protocol}" for p in charge.spec.ports]
        attachment = await within(WORK, charge.network.attach(charge.id, ports), "making its network")
        charge.locate(attachment.ip, dict(attachment.ports))
        return attachment

    async def _create(self, unit: Unit, number: int, spec: ContainerSpec) -> None:
        runtime = self._charge.runtime
        try:
            await within(WORK, runtime.create(spec), "creating the container")
        except Conflict:
            # Left by a daemon that died before it could start it.
            await within(WORK, runtime.remove(spec.id), "removing the container")
            await within(WORK, runtime.create(spec), "creating the container")
        unit.instances[number] = Container(
            id=spec.id, status=Status.CREATED, labels=spec.labels, image=spec.image
        )

    async def _image(self, unit: Unit) -> Image | None:
        template, charge = unit.template, self._charge
        if not template.image:
            return None
        charge.observe(unit, phase=Phase.PULLING)
        pull = charge.agent.pulls.image(charge.runtime, template.image, template.pull)
        return await charge.unless_unwanted(pull, self._meanwhile)


def _named(unit: Unit, why: str) -> str:
    return f"{unit.role} {unit.name}: {why}" if unit.name else why
