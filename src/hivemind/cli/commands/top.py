"""`hivemind top`: the processes of replicas; or, with nothing named, what nodes and apps use."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from hivemind.cli.commands.stats import Usage, usages
from hivemind.cli.context import Context
from hivemind.cli.output import show_data
from hivemind.cli.tables import render
from hivemind.cli.targets import looked_into
from hivemind.errors import Invalid, nearest
from hivemind.model.answers import ProcessEntry
from hivemind.model.quantity import show_bytes

_COLUMNS: dict[str, tuple[str, Callable[[ProcessEntry], str]]] = {
    "user": ("USER", lambda p: p.user),
    "pid": ("PID", lambda p: str(p.pid)),
    "ppid": ("PPID", lambda p: str(p.parent)),
    "stat": ("S", lambda p: p.state),
    "start": ("START", lambda p: _start(p.started)),
    "time": ("TIME", lambda p: _spent(p.cpu_seconds)),
    "rss": ("MEMORY", lambda p: show_bytes(p.memory)),
    "cmd": ("COMMAND", lambda p: p.command),
}
_ALIASES = {"uid": "user", "command": "cmd", "args": "cmd", "comm": "cmd", "s": "stat", "state": "stat",
            "stime": "start", "memory": "rss", "mem": "rss", "parent": "ppid"}  # fmt: skip
_FORMATS = ("json", "yaml", "table", "wide")


def top(context: Context) -> None:
    if context.args.name:
        _processes(context)
    else:
        _overview(context)


def _processes(context: Context) -> None:
    args = context.args
    found = []
    for name in args.name:
        replica, container = looked_into(context, name)
        inside = context.hive.allocations.processes(replica.id, replica.project, container=container)
        found.append((f"{replica.name}/{container}" if container else replica.name, inside))
    if args.output in ("json", "yaml"):
        items = [{"replica": name, **msgspec.to_builtins(p)} for name, inside in found for p in inside]
        show_data(context, {"items": items})
        return
    columns = [_COLUMNS[key] for key in _chosen(args.output)]
    for number, (name, inside) in enumerate(found):
        if len(found) > 1:
            context.print(("\n" if number else "") + context.terminal.paint(name, "bold"))
        rows = [[value(process) for _, value in columns] for process in inside]
        for line in render([header for header, _ in columns], rows, context.terminal.width):
            context.print(line)


def _chosen(text: str | None) -> list[str]:
    if text in (None, "table", "wide"):
        return list(_COLUMNS)
    keys = [_ALIASES.get(word.strip().lower(), word.strip().lower()) for word in (text or "").split(",")]
    for key in keys:
        if key not in _COLUMNS:
            raise Invalid(
                f"processes have no column {key!r}",
                hint=nearest(key, _COLUMNS) or f"there are {', '.join(_COLUMNS)}, and -o json",
            )
    return keys


class _Load(NamedTuple):
    name: str
    cores: float
    memory: int
    replicas: int


_ORDERS: dict[str, Callable[[_Load], tuple[float, str]]] = {
    "cpu": lambda load: (-load.cores, load.name),
    "memory": lambda load: (-load.memory, load.name),
    "name": lambda load: (0, load.name),
}


def _overview(context: Context) -> None:
    args = context.args
    if args.output not in (None, *_FORMATS):
        raise Invalid("columns are of processes", hint="name a replica: hivemind top web -o pid,cmd")
    used = usages(context, ())
    apps: dict[str, list[Usage]] = defaultdict(list)
    nodes: dict[str, list[Usage]] = defaultdict(list)
    for each in used:
        project, app = each.allocation.project, each.allocation.app
        if context.scope in (None, project):
            apps[f"{project}/{app}" if args.all_projects else app].append(each)
        nodes[each.allocation.node].append(each)
    loads = sorted((_load(name, each) for name, each in apps.items()), key=_ORDERS[args.sort or "cpu"])
    machines = sorted(context.hive.nodes.list(None), key=lambda node: node.name)
    if args.output in ("json", "yaml"):
        show_data(
            context,
            {
                "nodes": [{**_load(n.name, nodes[n.name])._asdict(), "cpus": n.cpus, "capacity": n.memory,
                           "load": n.status.load, "memory_used": n.status.memory_used} for n in machines],
                "apps": [load._asdict() for load in loads],
            },
        )  # fmt: skip
        return
    rows = []
    for node in machines:
        load = _load(node.name, nodes[node.name])
        rows.append(
            [node.name, f"{load.cores:.2f}", _percent(load.cores, node.cpus), show_bytes(load.memory),
             _percent(load.memory, node.memory), f"{node.status.load:.2f}",
             show_bytes(node.status.memory_used), str(load.replicas)]
        )  # fmt: skip
    headers = ["NODE", "CORES", "CPU", "MEMORY", "MEM", "LOAD", "MACHINE", "REPLICAS"]
    for line in render(headers, rows, context.terminal.width):
        context.print(line)
    context.print()
    rows = [[load.name, f"{load.cores:.2f}", show_bytes(load.memory), str(load.replicas)] for load in loads]
    for line in render(["APP", "CORES", "MEMORY", "REPLICAS"], rows, context.terminal.width):
        context.print(line)


def _load(name: str, used: list[Usage]) -> _Load:
    return _Load(name, round(sum(u.cores for u in used), 4), sum(u.stats.memory for u in used), len(used))


def _percent(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _start(milliseconds: int) -> str:
    """As ps(1): the time of today, or the day."""
    when = time.localtime(milliseconds / 1000)
    return time.strftime("%H:%M" if when[:3] == time.localtime()[:3] else "%b%d", when)


def _spent(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
