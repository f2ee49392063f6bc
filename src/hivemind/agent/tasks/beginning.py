"""Beginning an attempt: its directory, image, address, volumes, then the container itself, once."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from hivemind.agent.provision.contract import Provision, provide
from hivemind.agent.tasks.compose import compose
from hivemind.agent.tasks.gang import members
from hivemind.agent.work.compose import user_of
from hivemind.agent.work.deadline import WORK, within
from hivemind.drivers.network.contract import Attachment
from hivemind.drivers.runtimes.contract import Container, ContainerSpec, Status
from hivemind.errors import Conflict, HivemindError, Invalid, NotFound, Unavailable, Unsupported
from hivemind.jobs.order import Order
from hivemind.model.allocation import Allocation, Phase
from hivemind.model.image import Image, ImageConfig

if TYPE_CHECKING:
    from hivemind.agent.tasks.attempt import Attempt

_LOOPBACK = "127.0.0.1"


class Beginning:
    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    async def begin(self, allocation: Allocation, order: Order) -> None:
        """Raises why it cannot be begun, and then nothing of it has run."""
        attempt = self._attempt
        attempt.runtime = attempt.agent.runtime_for(order.template)
        spec = await self._composed(allocation, order)
        try:
            await within(WORK, attempt.runtime.create(spec), "creating the container")
        except Conflict:  # left by an earlier try that took too long
            attempt.container = await attempt.look()
            return
        attempt.container = Container(id=spec.id, status=Status.CREATED, labels=spec.labels, image=spec.image)
        await self._start(allocation, spec)

    async def _start(self, allocation: Allocation, spec: ContainerSpec) -> None:
        attempt = self._attempt
        assert attempt.runtime is not None and attempt.container is not None
        try:
            pid = await within(WORK, attempt.runtime.start(spec.id), "starting the container")
        except (NotFound, Invalid, Unsupported):
            raise
        except HivemindError as error:
            # It may run all the same. It is never begun a second time under this number.
            found = await attempt.look()
            if found is not None and found.status is not Status.CREATED:
                attempt.container = found
            else:
                attempt.lost(allocation, f"starting it failed: {error.message}")
            return
        made = attempt.container
        if made.status is Status.CREATED:  # otherwise its end was faster than the answer
            made = replace(made, status=Status.RUNNING, pid=pid)
        attempt.container = replace(made, started=attempt.agent.clock())

    async def _composed(self, allocation: Allocation, order: Order) -> ContainerSpec:
        attempt, agent = self._attempt, self._attempt.agent
        image = await self._image(order)
        user = user_of(order.template, image.config if image else ImageConfig())
        self._make_place(order, user)
        attachment = await self._attached(order)
        provision = await self._provision(allocation, order, user)
        return compose(
            allocation, order, image, attachment, provision,
            secrets=attempt.attempts.opened(order),
            further=await attempt.while_wanted(members(attempt, order)) if order.size > 1 else {},
            place=attempt.place, node_name=agent.node_name, boot=agent.boot,
        )  # fmt: skip

    async def _image(self, order: Order) -> Image | None:
        attempt, template = self._attempt, order.template
        if not template.image:
            return None
        assert attempt.runtime is not None
        attempt.observe(Phase.PULLING)
        pull = attempt.agent.pulls.image(attempt.runtime, template.image, template.pull)
        image = await attempt.while_wanted(pull)
        attempt.observe(Phase.STARTING)
        return image

    async def _attached(self, order: Order) -> Attachment:
        """A plain command is in the node's own network, and needs nothing for that."""
        attempt = self._attempt
        if not order.template.image:
            return Attachment(allocation=attempt.id, ip=_LOOPBACK)
        attempt.attached = True
        network = attempt.agent.network_for(order.template)
        attachment = await within(WORK, network.attach(attempt.id, ()), "making its network")
        attempt.observe(Phase.STARTING, ip=attachment.ip)
        return attachment

    async def _provision(self, allocation: Allocation, order: Order, user: str) -> Provision:
        template, attempt = order.template, self._attempt
        if not (template.mounts or template.env_from or template.resources.gpus):
            return Provision()
        attempt.provided = True
        needs = provide(attempt.agent.providers, allocation, template, template, user)
        return await attempt.while_wanted(needs)

    # -- its directory ---------------------------------------------------------------------------------------

    def _make_place(self, order: Order, user: str) -> None:
        try:
            if not (order.template.image or order.steps or user):
                self._take_place()
                return
            _directory(self._attempt.place)
            if order.template.image:
                self._make_told(order)
            else:
                self._make_home(order, user)
        except OSError as error:
            raise Unavailable(
                f"the files of the attempt cannot be made: {error.strerror}",
                hint="is the disk of the data directory full?",
            ) from error

    def _take_place(self) -> None:
        """One that was left empty, unless an earlier try has done so."""
        attempt = self._attempt
        if attempt.place.name == attempt.id:
            attempt.place = attempt.attempts.places.take()

    def _make_told(self, order: Order) -> None:
        """Whoever the container's users are on this machine, they may write there; nobody else gets to it."""
        told = self._attempt.place / "told"
        _directory(told)
        os.close(os.open(told / "output", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC))
        os.chmod(told, 0o755)
        os.chmod(told / "output", 0o666)
        if order.steps:
            _directory(told / "steps")
            os.chmod(told / "steps", 0o777)

    def _make_home(self, order: Order, user: str) -> None:
        place = self._attempt.place
        _directory(place / "work")
        if order.steps:
            _directory(place / "steps")
        if not user:
            return
        from hivemind.drivers.runtimes.process.check import identity

        if (who := identity(user)) is None:
            return
        self._attempt.attempts.places.let_users_through()
        os.chmod(place, 0o711)
        os.close(os.open(place / "output", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        for name in ("work", "output", *(["steps"] if order.steps else [])):
            os.chown(place / name, who[0], who[1])


def _directory(path: Path) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
