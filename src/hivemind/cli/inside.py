"""Tables of what is inside replicas: their containers, and what the checks of these found."""

from __future__ import annotations

from collections.abc import Sequence

from hivemind.cli.context import Context
from hivemind.cli.output import age
from hivemind.cli.tables import render
from hivemind.model.allocation import AllocationDocument, CheckResult, CompanionStatus

_CHECKS = 10


def companions(context: Context, allocations: Sequence[AllocationDocument]) -> list[str]:
    """The containers beside the apps' own; nothing where there are none."""
    rows = [
        [f"{a.name}/{c.name}", c.role, _phase(c), c.health, str(c.restarts), c.message or _ending(c)]
        for a in allocations
        for c in a.status.companions
    ]
    if not rows:
        return []
    headers = ["CONTAINER", "ROLE", "STATUS", "HEALTH", "RESTARTS", "MESSAGE"]
    return render(headers, rows, context.terminal.width, context.terminal.mood)


def checks(context: Context, results: Sequence[CheckResult]) -> list[str]:
    """The last ones, newest below."""
    rows = [
        [age(r.time), r.container or "-", r.check, r.outcome, took(r.latency), r.output or "-"]
        for r in results[-_CHECKS:]
    ]
    if not rows:
        return []
    headers = ["AGE", "CONTAINER", "CHECK", "RESULT", "TOOK", "SAID"]
    return render(headers, rows, context.terminal.width, context.terminal.mood)


def took(seconds: float) -> str:
    return f"{seconds:.1f}s" if seconds >= 1 else f"{seconds * 1000:.0f}ms"


def _phase(companion: CompanionStatus) -> str:
    done = companion.role == "init" and companion.last and companion.last.exit_code == 0
    return "completed" if companion.phase == "ended" and done else str(companion.phase)


def _ending(companion: CompanionStatus) -> str:
    return companion.last.reason if companion.last else "-"
