"""`hivemind describe KIND NAME` and `app info`: everything about one thing, and why it is so."""

from __future__ import annotations

import dataclasses
import datetime
import shlex
from collections.abc import Iterable
from typing import Any

import msgspec

from hivemind.cli import inside
from hivemind.cli.commands import jobs, runs
from hivemind.cli.commands.get import fetch, kind
from hivemind.cli.context import Context
from hivemind.cli.output import age, cell, table
from hivemind.cli.tables import cut, display_width, printable
from hivemind.errors import NotFound
from hivemind.model.allocation import ALLOCATION, AllocationDocument, CheckResult
from hivemind.model.app import APP, AppDocument
from hivemind.model.deployment import DEPLOYMENT
from hivemind.model.event import EVENT, Event
from hivemind.model.job import JOB
from hivemind.model.node import NODE
from hivemind.model.quantity import show_bytes, show_seconds
from hivemind.model.resource import Column, Resource
from hivemind.model.run import RUN

_TIMES = {
    "created",
    "updated",
    "joined",
    "started",
    "ended",
    "placed",
    "observed",
    "time",
    "resumes",
    "backed_up",
    "verified",
    "taken",
    "lost",
    "leaving",
}
_DUE = {"held_until", "deadline"}
"""Times that lie ahead."""
_SIZES = {"memory", "memory_reserved", "memory_used", "size", "disk_free", "used", "added"}
_SPANS = {
    "grace",
    "interval",
    "timeout",
    "start_period",
    "min_healthy_time",
    "healthy_deadline",
    "every",
    "verify_every",
    "restarting",
}
_INTERNAL = {"companions", "checks", "settled", "condemned", "boot"}
"""Of an allocation's status: what its node goes by, or what has a table of its own. `-o json` has all."""
_EVENTS = 10
_INDENT = 2


def describe(context: Context) -> None:
    resource = kind(context.args.kind)
    for number, name in enumerate(context.args.name):
        if number:
            context.print()
        if resource is APP:
            describe_app(context, name)
        elif resource is JOB:
            jobs.describe(context, fetch(context, resource, name))
        elif resource is RUN:
            runs.describe(context, fetch(context, resource, name))
        else:
            _describe(context, resource, fetch(context, resource, name))


def describe_app(context: Context, name: str) -> None:
    app: AppDocument = fetch(context, APP, name)
    hive, project = context.hive, context.project
    allocations = sorted(hive.allocations.list(project, app=app.name), key=lambda a: (a.slot, a.attempt))
    paint = context.terminal.mood
    context.print(f"{context.terminal.paint(app.name, 'bold')}  {paint(app.status.phase)}  {app.ready} ready")
    if app.status.message:
        context.print(f"  {context.terminal.paint(printable(app.status.message), 'yellow')}")
    facts = {
        "project": app.project,
        "id": app.id,
        "labels": app.labels,
        "revision": f"{app.status.revision}" + ("" if app.status.stable == app.status.revision else
                    f" (the last good one is {app.status.stable})" if app.status.stable else " (not yet good)"),
        "restarts": app.status.restarts,
        "created": app.created,
    }  # fmt: skip
    _print_tree(context, {**facts, **_written(app)}, 1)
    _print_endings(context, allocations)
    live = [a for a in allocations if a.state not in ("stopped", "lost", "complete", "failed")]
    ended = [a for a in allocations if a not in live][-5:]
    _section(context, "Replicas", _replicas(context, live) if live else ["  none"])
    if ended:
        _section(context, "Ended", _replicas(context, ended))
    if beside := inside.companions(context, live):
        _section(context, "Companions", beside)
    deployments = [d for d in hive.deployments.list(project, app=app.name) if d.app in (app.name, app.id)]
    if deployments:
        _section(context, "Deployments", table(context, DEPLOYMENT, deployments[-5:], indent=_INDENT))
    _print_events(context, hive.events(project=project, app=app.name, limit=_EVENTS))


def describe_node(context: Context, name: str) -> None:
    _describe(context, NODE, fetch(context, NODE, name))


def _replicas(context: Context, allocations: list[AllocationDocument]) -> list[str]:
    """The usual columns; of the others those that say something of one of them, while there is room. Why something
    is so is always told, cut if need be."""
    kept = [c for c in ALLOCATION.columns if not c.wide]
    for column in ALLOCATION.columns:
        if column.wide and any(column.value(a) for a in allocations):
            more = [c for c in ALLOCATION.columns if c in kept or c is column]
            if column.header in ("MESSAGE", "REASON") or _natural_width(more, allocations) <= _room(context):
                kept = more
    chosen = dataclasses.replace(ALLOCATION, columns=tuple(kept))
    return table(context, chosen, allocations, wide=True, indent=_INDENT)


def _natural_width(columns: list[Column], allocations: list[AllocationDocument]) -> int:
    """Of a table that nothing is cut of, with the wider gaps that such a one may have."""
    widths = (max(len(c.header), *(len(cell(c, c.value(a))) for a in allocations)) for c in columns)
    return sum(widths) + 3 * (len(columns) - 1)


def _room(context: Context) -> int:
    return context.terminal.width - _INDENT


def _written(app: AppDocument) -> dict[str, Any]:
    """The spec without what was left at its default."""
    spec: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(app.spec))
    for words in ("command", "entrypoint"):
        if words in spec:
            spec[words] = shlex.join(spec[words])
    for role in ("init_containers", "sidecars"):
        for companion in spec.pop(role, []):
            line = (*companion.get("entrypoint", ()), *companion.get("command", ()))
            spec.setdefault(role, {})[companion["name"]] = f"{companion['image']} {shlex.join(line)}".strip()
    if "mounts" in spec:
        spec["mounts"] = [_mount(each) for each in spec["mounts"]]
    if app.spec.ports:
        spec["ports"] = [
            f"{p.host}:{p.container}/{p.protocol}" if p.host else f"{p.container}/{p.protocol}"
            for p in app.spec.ports
        ]
    return spec


def _mount(mount: dict[str, Any]) -> str:
    """`volume data at /data, readonly`."""
    said = {"kind", "source", "target"}
    more = [
        key if value is True else f"{key} {_value(key, value)}"
        for key, value in mount.items()
        if key not in said
    ]
    return ", ".join(
        [" ".join(filter(None, (mount["kind"], mount.get("source"), "at", mount["target"]))), *more]
    )


def _print_endings(context: Context, allocations: Iterable[AllocationDocument]) -> None:
    """How instances ended, the newest of each replica: the first thing one asks about a crash."""
    lines = []
    for allocation in allocations:
        last = allocation.status.last
        if last is None:
            continue
        how = "killed at its memory limit" if last.oom else f"exit code {last.exit_code}"
        why = f", {printable(last.reason)}" if last.reason not in ("", how) else ""
        lines.append(f"{allocation.name}  {how}{why}, {age(last.ended)} ago")
    if lines:
        _section(context, "Last endings", lines)


def _describe(context: Context, resource: Resource, document: Any) -> None:
    name = getattr(document, "name", "") or document.id
    shown = getattr(document, "shown", "")
    context.print(f"{context.terminal.paint(name, 'bold')}  {context.terminal.mood(shown)}".rstrip())
    values = msgspec.to_builtins(document)
    if isinstance(document, AllocationDocument):
        values["status"] = _observed(values["status"])
    _print_tree(context, {k: v for k, v in values.items() if k not in ("kind", "name")}, 1)
    hive = context.hive
    if resource.kind == "Node":
        here = [a for a in hive.allocations.list(None) if a.node == name and a.state in ("placed", "healthy")]
        if here:
            _section(context, "Replicas", table(context, ALLOCATION, here, project=True, indent=_INDENT))
        about = [e for e in hive.events(node=document.id, limit=1000) if not e.type.startswith("app.")]
        _print_events(context, about[-_EVENTS:])
    elif resource.kind == "Allocation":
        if beside := inside.companions(context, [document]):
            _section(context, "Companions", beside)
        if found := inside.checks(context, _checks(context, document)):
            _section(context, "Checks", found)
        _print_events(context, hive.events(allocation=document.id, limit=_EVENTS))


def _observed(status: dict[str, Any]) -> dict[str, Any]:
    """What a person asks about: no internals, and back-off only while there is one."""
    shown = {key: value for key, value in status.items() if key not in _INTERNAL}
    failures, resumes = shown.pop("failures", 0), shown.pop("resumes", 0)
    if failures:
        shown |= {"failures in a row": failures}
    if resumes:
        shown |= {"next start": f"{datetime.datetime.fromtimestamp(resumes / 1000, datetime.UTC):%H:%M:%S}Z"}
    return shown


def _checks(context: Context, allocation: AllocationDocument) -> list[CheckResult]:
    """All that its node remembers; where nothing of it is there any more, what stands in the store."""
    try:
        return context.hive.allocations.checks(allocation.id, allocation.project)
    except NotFound:
        parts = (*allocation.status.companions, allocation.status)
        return [result for part in parts for result in part.checks]


def _print_events(context: Context, events: list[Event]) -> None:
    if events:
        _section(context, "Events", table(context, EVENT, events, indent=_INDENT))


def _section(context: Context, title: str, lines: Iterable[str]) -> None:
    context.print()
    context.print(context.terminal.paint(title, "bold"))
    for line in lines:
        context.print(line if line.startswith("  ") else f"  {line}")


def _print_tree(context: Context, values: dict[str, Any], depth: int) -> None:
    """`key: value` lines that line up; what is empty is left out."""
    shown = {k: v for k, v in values.items() if v not in (None, "", [], {}, ())}
    lead = max((len(k) for k, v in shown.items() if not isinstance(v, dict)), default=0) + 1
    indent = "  " * depth
    for key, value in shown.items():
        if isinstance(value, dict):
            context.print(f"{indent}{key}:")
            _print_tree(context, value, depth + 1)
        else:
            start = f"{indent}{key + ':':<{lead}} "
            for number, line in enumerate(_wrapped(_value(key, value), context.terminal.width - len(start))):
                context.print(f"{' ' * len(start) if number else start}{line}")


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most so many columns; a word that is longer (a digest) is cut."""
    if display_width(text) <= width:
        return [text]
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if display_width(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return [cut(line, max(width, 8)) for line in lines if line]


def _value(key: str, value: Any) -> str:
    if key in _TIMES and isinstance(value, int):
        if not value:
            return "-"
        when = datetime.datetime.fromtimestamp(value / 1000, datetime.UTC)
        return f"{when:%Y-%m-%d %H:%M:%S}Z ({age(value)} ago)"
    if key in _DUE and isinstance(value, int):
        return (
            f"{datetime.datetime.fromtimestamp(value / 1000, datetime.UTC):%Y-%m-%d %H:%M:%S}Z"
            if value
            else "-"
        )
    if key in _SIZES and isinstance(value, int):
        return show_bytes(value)
    if key in _SPANS and isinstance(value, int | float):
        return show_seconds(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_value("", v) for v in value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_value(k, v)}" for k, v in value.items()) + "}"
    return printable(str(value))
