"""`hivemind stats`: what replicas use right now."""

from __future__ import annotations

import time
from dataclasses import dataclass

import msgspec

from hivemind.cli.context import Context
from hivemind.cli.output import show_data
from hivemind.cli.tables import render
from hivemind.cli.targets import Replica, resolve
from hivemind.errors import Conflict, NotFound, Unsupported
from hivemind.model.allocation import AllocationDocument
from hivemind.model.answers import AllocationStats
from hivemind.model.quantity import show_bytes

_INTERVAL = 2.0
_FIRST = 0.5
"""Seconds between the two looks that a share of the CPU needs at least."""
_HEADERS = ("NAME", "ID", "CPU", "MEMORY", "LIMIT", "MEM", "NET RX", "NET TX", "PIDS")


@dataclass(frozen=True)
class Sample:
    at: float
    stats: AllocationStats


def stats(context: Context) -> None:
    interval = context.args.get("interval", _INTERVAL)
    before = _look(context)
    time.sleep(min(_FIRST, interval))
    while True:
        now = _look(context)
        _show(context, before, now)
        if context.args.no_stream:
            return
        before = now
        time.sleep(interval)


def _look(context: Context) -> dict[str, tuple[AllocationDocument, Sample]]:
    found = {}
    for allocation in _chosen(context):
        try:
            used = context.hive.allocations.stats(allocation.id, allocation.project)
        except (NotFound, Conflict, Unsupported):  # it ended between the two questions
            continue
        found[allocation.id] = (allocation, Sample(time.monotonic(), used))
    return found


def _chosen(context: Context) -> list[AllocationDocument]:
    wanted = [resolve(context, name) for name in context.args.name]
    every = context.hive.allocations.list(context.scope)
    running = [a for a in every if a.state in ("placed", "healthy") and a.status.phase == "running"]
    if wanted:
        apps = {t.name for t in wanted if not isinstance(t, Replica)}
        ids = {t.id for t in wanted if isinstance(t, Replica)}
        running = [a for a in running if a.app in apps or a.id in ids]
    return sorted(running, key=lambda a: (a.project, a.app, a.slot))


def _show(
    context: Context,
    before: dict[str, tuple[AllocationDocument, Sample]],
    now: dict[str, tuple[AllocationDocument, Sample]],
) -> None:
    shares = {id: _share(before.get(id, (None, sample))[1], sample) for id, (_, sample) in now.items()}
    if context.args.output == "json":
        items = [
            {"name": a.name, "cpu": round(shares[id], 4), **msgspec.to_builtins(sample.stats)}
            for id, (a, sample) in now.items()
        ]
        show_data(context, {"items": items})
        return
    rows = [_row(a, sample.stats, shares[id]) for id, (a, sample) in now.items()]
    if context.terminal.interactive and not context.args.no_stream:
        context.terminal.out.write("\x1b[H\x1b[2J")
    for line in render(_HEADERS, rows, context.terminal.width):
        context.print(line)
    context.terminal.out.flush()


def _share(before: Sample, now: Sample) -> float:
    """Cores in use between two samples."""
    passed = now.at - before.at
    return max(now.stats.cpu_seconds - before.stats.cpu_seconds, 0.0) / passed if passed > 0 else 0.0


def _row(allocation: AllocationDocument, used: AllocationStats, share: float) -> tuple[str, ...]:
    limit = used.memory_limit
    return (
        allocation.name,
        allocation.id,
        f"{share:.1%}",
        show_bytes(used.memory),
        show_bytes(limit) if limit else "-",
        f"{used.memory / limit:.1%}" if limit else "-",
        show_bytes(used.net_rx),
        show_bytes(used.net_tx),
        str(used.pids),
    )
