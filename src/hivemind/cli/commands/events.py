"""`hivemind events`: what happens, as it happens."""

from __future__ import annotations

import time

import msgspec

from hivemind.cli.context import Context
from hivemind.cli.flags.text import pairs
from hivemind.cli.parsing import nearest
from hivemind.cli.tables import printable
from hivemind.cli.times import moment
from hivemind.errors import Invalid
from hivemind.model.event import Event

_FILTERS = ("app", "type", "project", "node", "allocation", "level", "by", "name")
_ALIASES = {"container": "allocation", "event": "type"}


def events(context: Context) -> None:
    args, hive = context.args, context.hive
    filters = {_ALIASES.get(k, k): v for k, v in pairs(args.filter, "--filter").items()}
    for key in filters:
        if key not in _FILTERS:
            hint = nearest(key, _FILTERS) or f"it may be {', '.join(_FILTERS)}"
            raise Invalid(f"events have no {key!r}", hint=hint)
    if args.project:
        filters.setdefault("project", args.project)
    since = moment(args.since, "--since") * 1000 if args.since else None
    until = moment(args.until, "--until") * 1000 if args.until else None
    bounded = args.no_follow or (until is not None and until <= time.time() * 1000)
    start = since if since is not None else 0 if bounded else None
    past = hive.events() if start is not None else []
    for event in past:
        if start is not None and event.time >= start and (until is None or event.time <= until):
            _print(context, event, filters)
    if bounded:
        return
    if context.terminal.interactive and start is None:
        context.note("waiting for events; Ctrl-C ends")
    for event in hive.events_follow(after=past[-1].id if past else None):
        if until is not None and event.time > until:
            return
        _print(context, event, filters)


def _print(context: Context, event: Event, filters: dict[str, str]) -> None:
    if not _passes(event, filters):
        return
    if context.args.output == "json":
        context.print(msgspec.json.encode(event).decode())
    else:
        context.print(_line(context, event))
    context.terminal.out.flush()


def _passes(event: Event, filters: dict[str, str]) -> bool:
    """A type is matched by its beginning: `allocation` means all that happens to allocations."""
    return all(
        event.type == v or event.type.startswith(f"{v}.") if k == "type" else getattr(event, k) == v
        for k, v in filters.items()
    )


def _line(context: Context, event: Event) -> str:
    terminal = context.terminal
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.time / 1000))
    style = "yellow" if event.level == "warning" else "cyan"
    parts = [terminal.paint(when, "dim"), terminal.paint(f"{event.type:<26}", style), event.name or event.app]
    if context.args.output == "wide":
        parts.append(event.allocation or "-")
    by = terminal.paint(f"(by {event.by})", "dim") if event.by else ""
    return "  ".join(part for part in (*parts, printable(event.message), by) if part)
