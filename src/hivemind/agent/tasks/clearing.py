"""Leaving nothing of an attempt behind but what is kept: its log and its artifacts, as long as its run is known."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from hivemind.agent.work.deadline import WORK, within
from hivemind.drivers.runtimes.contract import Container, Status
from hivemind.errors import NotFound

if TYPE_CHECKING:
    from hivemind.agent.tasks.attempt import Attempt


class Clearing:
    """The hive has the outcome already, or does not want it: what goes wrong here costs nothing but a later try."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    async def clear(self, *, keep: bool) -> None:
        attempt = self._attempt
        if attempt.container is not None:
            if attempt.container.status is Status.RUNNING:
                await attempt.end(attempt.container, 0.0)
            if keep and attempt.container.status is Status.EXITED:
                await self._keep_log(attempt.container)
            await self.discard(attempt.container)
        await self._release()
        if not attempt.attempts.places.give_back(attempt.place):
            await asyncio.to_thread(attempt.attempts.places.destroy, attempt.place)

    async def discard(self, container: Container) -> None:
        attempt = self._attempt
        assert attempt.runtime is not None
        await within(WORK, attempt.runtime.remove(container.id), "removing the container")
        attempt.container = None

    async def _keep_log(self, container: Container) -> None:
        attempt = self._attempt
        assert attempt.runtime is not None
        kept = attempt.attempts.places.log(attempt.member.run, attempt.id)
        with contextlib.suppress(NotFound):  # somebody else has removed it
            await within(WORK, attempt.runtime.keep_log(container.id, kept), "keeping the log")

    async def _release(self) -> None:
        attempt, agent = self._attempt, self._attempt.agent
        if attempt.attached:
            for network in agent.all_networks():
                if attempt.id in network.attachments():
                    await within(WORK, network.detach(attempt.id), "removing its network")
        if attempt.provided:
            for provider in agent.providers:
                await within(WORK, provider.release(attempt.id), "letting go of its volumes")
