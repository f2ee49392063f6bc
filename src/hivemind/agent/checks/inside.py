"""Looking into a running container for its checks: commands run inside, what its processes do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hivemind.agent.checks.diagnosis import describe
from hivemind.agent.checks.target import Target
from hivemind.agent.work.charge import Charge
from hivemind.agent.work.deadline import TIDY
from hivemind.agent.work.unit import Unit
from hivemind.drivers.runtimes.contract import ExecSession, ExecSpec, ProcessInfo
from hivemind.errors import HivemindError

if TYPE_CHECKING:
    from hivemind.agent.agent import Agent

_OUTPUT = 4096
"""Bytes of a probe's output that are kept: its end, where the error usually is."""
_APART = 0.25
"""Seconds between two looks at the processes, to see whether they work."""
_LOOK = 2.0
"""Seconds for such a look."""


def target_of(agent: Agent, charge: Charge, unit: Unit) -> Target:
    """All containers of an allocation answer at its address."""
    attached = charge.network.attachments().get(charge.id)

    async def run(arguments: tuple[str, ...]) -> tuple[int, str]:
        return await _run(agent, charge, unit, arguments)

    async def explain() -> str:
        return await _explain(charge, unit)

    return Target(
        id=charge.id,
        ip=attached.ip if attached else "127.0.0.1",
        ports=dict(attached.ports) if attached else {},
        declared=tuple(p.container for p in charge.spec.ports if p.protocol == "tcp"),
        run=run,
        now=agent.now,
        explain=explain,
    )


async def _run(agent: Agent, charge: Charge, unit: Unit, arguments: tuple[str, ...]) -> tuple[int, str]:
    """Exit code and the end of the output of a command inside."""
    container = unit.running
    if container is None:
        return 1, "the container does not run"
    session = await charge.runtime.exec(container.id, ExecSpec(args=arguments))
    output = b""
    try:
        while chunk := await session.read():
            output = (output + chunk[1])[-_OUTPUT:]
        code = await session.wait()
    except asyncio.CancelledError:
        # Its time is over. Ending it is not waited for: a runtime that hangs must not make the check hang.
        agent.spawn(_close(session))
        raise
    except BaseException:
        await _close(session)
        raise
    await _close(session)
    return code, output.decode(errors="replace")


async def _close(session: ExecSession) -> None:
    try:
        async with asyncio.timeout(TIDY):
            await session.close()
    except (HivemindError, OSError, TimeoutError):
        pass  # The runtime kills it together with its container, if not before.


async def _explain(charge: Charge, unit: Unit) -> str:
    container = unit.running
    if container is None:
        return ""
    try:
        async with asyncio.timeout(_LOOK):
            before = await _processes(charge, container.id)
            await asyncio.sleep(_APART)
            after = await _processes(charge, container.id)
    except (HivemindError, OSError, TimeoutError):
        return ""  # Only an explanation: without it the check has failed all the same.
    return describe(before, after, _APART)


async def _processes(charge: Charge, container: str) -> list[ProcessInfo]:
    return await charge.runtime.processes(container)
