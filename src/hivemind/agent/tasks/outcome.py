"""What is said of an attempt that has ended. Pure."""

from __future__ import annotations

from typing import Any

from hivemind.agent.work.restarts import explain
from hivemind.drivers.runtimes.contract import Exit
from hivemind.errors import HivemindError
from hivemind.model.allocation import Allocation, AllocationState
from hivemind.model.run import Cause
from hivemind.state.operations import AllocationReport

_LONGEST = 2000
"""Characters of a reason: it is agreed on and kept."""


def ended(
    allocation: Allocation,
    exit: Exit,
    *,
    started: int,
    late: str = "",
    memory: int = 0,
    step: str = "",
    trouble: str = "",
    outputs: dict[str, Any] | None = None,
    unreachable: tuple[str, ...] = (),
) -> AllocationReport:
    """By itself, or because its time was over (`late` says so). `step`: the one that it was at; `trouble`: why what it
    left cannot be taken, which makes a good end a bad one."""
    cause = "timeout" if late else cause_of(exit)
    spoiled = bool(trouble) and exit.code == 0 and not late
    good = exit.code == 0 and not late and not trouble
    why = late or explain(exit, memory)
    if step and not good and not trouble:
        why = f"{step}: {why}"
    if spoiled:
        why = trouble
    return AllocationReport(
        id=allocation.id,
        state=AllocationState.COMPLETE if good else AllocationState.FAILED,
        reason=(exit.reason if good else why)[:_LONGEST],
        exit_code=None if spoiled else exit.code,  # 0 says that all went well
        cause=cause,
        outputs=outputs or {},
        started_at=started,
        ended_at=exit.at,
        unreachable=unreachable,
    )


def cause_of(exit: Exit) -> Cause:
    if exit.oom:
        return "oom"
    if exit.code is None:
        return "lost"
    return "signal" if exit.signal else "exit"


def not_started(allocation: Allocation, error: HivemindError, now: int) -> AllocationReport:
    """Nothing of it ever ran."""
    why = f"{error.message} ({error.hint})" if error.hint else error.message
    return AllocationReport(
        id=allocation.id, state=AllocationState.FAILED, reason=why[:_LONGEST], cause="start", ended_at=now
    )


def lost(allocation: Allocation, why: str, now: int) -> AllocationReport:
    """Whether it ran is not known."""
    return AllocationReport(
        id=allocation.id, state=AllocationState.FAILED, reason=why[:_LONGEST], cause="lost", ended_at=now
    )


def stopped(allocation: Allocation, exit: Exit | None, *, started: int, now: int) -> AllocationReport:
    """As it was told to."""
    return AllocationReport(
        id=allocation.id,
        state=AllocationState.STOPPED,
        reason=allocation.reason,
        exit_code=exit.code if exit else None,
        started_at=started,
        ended_at=exit.at if exit and exit.at else now,
    )
