"""`hivemind stats`: what replicas use right now."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from hivemind.cli.commands.logs import warn_unreached
from hivemind.cli.context import Context
from hivemind.cli.output import show_data
from hivemind.cli.tables import render
from hivemind.cli.targets import Replica, container_of, resolve
from hivemind.model.allocation import AllocationDocument
from hivemind.model.answers import AllocationStats
from hivemind.model.quantity import show_bytes

_INTERVAL = 2.0
_FIRST = 0.5
"""Seconds between the two looks that a share of the CPU needs at least."""
_HEADERS = ("NAME", "CPU", "MEM USAGE / LIMIT", "MEM", "NET I/O", "PIDS")


@dataclass(frozen=True)
class Usage:
    """`cores`: in use between the last two looks."""

    allocation: AllocationDocument
    stats: AllocationStats
    cores: float

    @property
    def name(self) -> str:
        """As `ps` has it: `web.0`, and `web.0/log` for a companion."""
        container = self.stats.container
        return f"{self.allocation.name}/{container}" if container else self.allocation.name


class Meter:
    """Looks again and again at all replicas that are named, or at all there are."""

    def __init__(self, context: Context, names: Sequence[str], scope: str | None) -> None:
        self._hive = context.hive
        self._scope = scope
        self._targets = [
            (target, container_of(context, target)) for target in (resolve(context, n) for n in names)
        ]
        self._container: str = context.args.get("container") or ""
        self._before: dict[tuple[str, str], tuple[float, float]] = {}
        self._known: dict[str, AllocationDocument] = {}
        self.unreached: list[str] = []
        """Which nodes could not be asked when it looked last."""

    def look(self) -> list[Usage]:
        """By name. A first look at a replica knows no share of the CPU yet."""
        sample = self._hive.sample(project=self._scope or "")
        samples, self.unreached = sample.items, sample.unreached
        now, found = time.monotonic(), {(s.allocation, s.container): s for s in samples}
        if not {id for id, _ in found} <= self._known.keys():
            self._known = {a.id: a for a in self._hive.allocations.list(self._scope)}
        used = []
        for place, stats in found.items():
            allocation = self._known.get(place[0])
            if allocation is None or not self._wanted(allocation, place[1]):
                continue
            at, seconds = self._before.get(place, (now, stats.cpu_seconds))
            cores = max(stats.cpu_seconds - seconds, 0.0) / (now - at) if now > at else 0.0
            used.append(Usage(allocation, stats, cores))
        self._before = {place: (now, stats.cpu_seconds) for place, stats in found.items()}
        return sorted(
            used,
            key=lambda u: (u.allocation.project, u.allocation.app, u.allocation.slot, u.stats.container),
        )

    def _wanted(self, allocation: AllocationDocument, container: str) -> bool:
        if not self._targets:
            return self._container in ("", container)
        return any(
            named in ("", container)
            and (allocation.id == target.id if isinstance(target, Replica) else allocation.app == target.name)
            for target, named in self._targets
        )


def usages(context: Context, names: Sequence[str]) -> list[Usage]:
    """One measurement of everything in the hive, or of what is named."""
    meter = Meter(context, names, context.project if names else None)
    meter.look()
    time.sleep(_FIRST)
    used = meter.look()
    warn_unreached(context.terminal, meter.unreached)
    return used


def stats(context: Context) -> None:
    interval = context.args.get("interval", _INTERVAL)
    live = context.terminal.interactive and not context.args.no_stream
    meter = Meter(context, context.args.name, context.scope)
    meter.look()
    time.sleep(min(_FIRST, interval))
    while True:
        used = meter.look()
        if live:
            context.terminal.out.write("\x1b[H\x1b[2J")
        _show(context, used)
        warn_unreached(context.terminal, meter.unreached)
        if context.args.no_stream:
            return
        time.sleep(interval)


def _show(context: Context, used: list[Usage]) -> None:
    if context.args.output == "json":
        items = [{"name": u.name, "cpu": round(u.cores, 4), **msgspec.to_builtins(u.stats)} for u in used]
        show_data(context, {"items": items})
        return
    rows = [_row(u) for u in used]
    headers = list(_HEADERS)
    if context.args.output == "wide":
        headers += ["ID", "NODE"]
        for row, u in zip(rows, used, strict=True):
            row += [u.allocation.id, u.allocation.node or "-"]
    if context.args.all_projects:
        headers.insert(0, "PROJECT")
        for row, u in zip(rows, used, strict=True):
            row.insert(0, u.allocation.project)
    for line in render(headers, rows, context.terminal.width):
        context.print(line)
    context.terminal.out.flush()


def _row(used: Usage) -> list[str]:
    stats = used.stats
    limit = stats.memory_limit
    return [
        used.name,
        f"{used.cores:.1%}",
        f"{show_bytes(stats.memory)} / {show_bytes(limit) if limit else '-'}",
        f"{stats.memory / limit:.1%}" if limit else "-",
        f"{show_bytes(stats.net_rx)} / {show_bytes(stats.net_tx)}",
        str(stats.pids),
    ]
