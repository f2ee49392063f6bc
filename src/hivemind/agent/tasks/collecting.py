"""What is taken of an attempt that has ended, before the hive is told: outputs, artifacts, what it could not reach."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hivemind.agent.tasks import artifacts, outcome, results
from hivemind.drivers.runtimes.contract import Container, Exit
from hivemind.errors import HivemindError, Invalid
from hivemind.jobs.order import Order
from hivemind.model.allocation import Allocation
from hivemind.state.operations import AllocationReport

if TYPE_CHECKING:
    from hivemind.agent.tasks.attempt import Attempt


class Collecting:
    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def note_late(self, order: Order) -> None:
        """Before it is told to end: whoever finds it ended must know that it did not do so by itself."""
        (self._attempt.place / "late").write_text(f"it took longer than {order.timeout:g}s")

    async def report(
        self, allocation: Allocation, order: Order, container: Container, exit: Exit
    ) -> AllocationReport:
        late = self._late()
        well = exit.code == 0 and not late
        outputs: dict[str, Any] = {}
        trouble = ""
        try:
            outputs = results.written(self._told(order), order)
            if well:
                outputs |= await results.filed(order, self._files(order))
            if order.artifacts:
                await self._keep_artifacts(order, strict=well)
        except (HivemindError, OSError) as error:
            trouble = _said(error)
        return outcome.ended(
            allocation,
            exit,
            started=container.started,
            late=late,
            memory=order.template.resources.memory,
            step="" if well else results.step_reached(self._told(order), order),
            trouble=trouble,
            outputs=outputs,
            unreachable=() if well else await self._unreachable(order),
        )

    def _late(self) -> str:
        place = self._attempt.place / "late"
        return place.read_text() if place.exists() else ""

    def _told(self, order: Order) -> Path:
        return self._attempt.place / "told" if order.template.image else self._attempt.place

    async def _keep_artifacts(self, order: Order, *, strict: bool) -> None:
        attempts = self._attempt.attempts
        kept = attempts.places.artifacts(self._attempt.member.run, self._attempt.id)
        await artifacts.keep(
            order.artifacts, self._files(order), kept, attempts.artifact_limit, strict=strict
        )

    async def _unreachable(self, order: Order) -> tuple[str, ...]:
        if not order.template.image:
            return ()
        return await self._attempt.agent.network_for(order.template).unreachable(self._attempt.id)

    # -- its files -------------------------------------------------------------------------------------------

    def _files(self, order: Order) -> results.ReadFiles:
        return self._inside if order.template.image else lambda path: self._beside(order, path)

    def _inside(self, path: str) -> AsyncIterator[bytes]:
        """Relative paths from where the container began."""
        made = self._attempt.made
        assert made is not None
        runtime, id = made
        return runtime.read_files(id, os.path.normpath(os.path.join(self._attempt.workdir, path)))

    async def _beside(self, order: Order, path: str) -> AsyncIterator[bytes]:
        """Of a plain command: in its working directory, and no link leads out of that. With the rights of its user,
        who may be able to make the directory itself a link to anywhere."""
        from hivemind.drivers.runtimes.files import read_tar
        from hivemind.drivers.runtimes.process.check import identity

        top = os.path.join(self._attempt.place, "work", order.template.workdir or "")
        inner = os.path.relpath(os.path.join(top, path), top)
        if inner.split("/", 1)[0] == "..":
            raise Invalid(
                f"{path} is not in the working directory of the command",
                hint="let it write there, or give the task that directory as its workdir",
            )
        root = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            stream = read_tar(root, inner, reader=identity(order.template.user or ""))
        finally:
            os.close(root)
        async for chunk in stream:
            yield chunk


def _said(error: HivemindError | OSError) -> str:
    if isinstance(error, HivemindError):
        return f"{error.message} ({error.hint})" if error.hint else error.message
    return f"what it left cannot be kept on its node: {error.strerror or error}"
