"""`hivemind events`: what happens, as it happens."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from hivemind.cli.context import Context
from hivemind.cli.tables import cut, printable
from hivemind.cli.times import moment
from hivemind.errors import Invalid, nearest
from hivemind.model.event import Event

_FILTERS = ("app", "type", "project", "node", "allocation", "level", "by", "name")
_ALIASES = {"container": "allocation", "event": "type"}
_ALL_TYPES = 18
"""Columns that the longest of the usual types takes."""

Filters = dict[str, list[str]]


def events(context: Context) -> None:
    args, hive = context.args, context.hive
    filters = _filters(context)
    since = int(moment(args.since, "--since") * 1000) if args.since else None
    until = int(moment(args.until, "--until") * 1000) if args.until else None
    if args.follow and args.no_follow:
        raise Invalid("--follow and --no-follow are given", hint="give one of them")
    past_until = until is not None and until <= time.time() * 1000
    bounded = args.no_follow or past_until
    if args.follow and past_until:
        raise Invalid("--until has passed, so nothing can follow", hint="leave out one of them")
    # What has one value is chosen by the daemon, the rest here.
    asked: dict[str, Any] = {key: values[0] for key, values in filters.items() if len(values) == 1}
    last: str | None = None
    if since is not None or bounded:
        for event in hive.events(**asked, since=since or 0, until=until or 0):
            last = event.id
            _print(context, event, filters)
    if bounded:
        return
    if context.terminal.interactive and since is None:
        context.note("waiting for events; Ctrl-C ends")
    for event in hive.events_follow(**asked, after=last):
        if until is not None and event.time > until:
            return
        if since is None or event.time >= since:
            _print(context, event, filters)


def _filters(context: Context) -> Filters:
    found: Filters = {}
    for text in context.args.filter:
        key, equals, value = text.partition("=")
        if not equals:
            raise Invalid(f"--filter {text!r} is not K=V", hint="write it like app=web")
        key = _ALIASES.get(key, key)
        if key not in _FILTERS:
            hint = nearest(key, _FILTERS) or f"it may be {', '.join(_FILTERS)}"
            raise Invalid(f"events have no {key!r}", hint=hint)
        found.setdefault(key, []).append(value)
    if context.args.type:
        found.setdefault("type", []).append(context.args.type)
    if context.args.get("project"):
        found.setdefault("project", [context.args.project])
    return found


def _print(context: Context, event: Event, filters: Filters) -> None:
    if not _passes(event, filters):
        return
    if context.args.output == "json":
        context.print(msgspec.json.encode(event).decode())
    else:
        context.print(_line(context, event))
    context.terminal.out.flush()


def _passes(event: Event, filters: Filters) -> bool:
    """One of the values of each key. A type is matched by its beginning: `allocation` is all that happens to them."""
    return all(
        any(_is_type(event, v) if key == "type" else getattr(event, key) == v for v in values)
        for key, values in filters.items()
    )


def _is_type(event: Event, wanted: str) -> bool:
    return event.type == wanted or event.type.startswith(f"{wanted}.")


def _line(context: Context, event: Event) -> str:
    """On a terminal it is cut to its width, unless everything is wanted."""
    terminal, wide = context.terminal, context.args.output == "wide"
    when = time.strftime("%Y-%m-%d %H:%M:%S" if wide else "%b %d %H:%M:%S", time.localtime(event.time / 1000))
    style = "yellow" if event.level == "warning" else "cyan"
    type = f"{event.type:<{_ALL_TYPES}}"
    name = printable(event.name or event.app)
    more = [event.allocation or "-"] if wide else []
    by = f"(by {printable(event.by)})" if event.by else ""
    tail = "  ".join(part for part in (*more, printable(event.message), by) if part)
    if not wide:
        tail = cut(tail, max(terminal.width - len(when) - len(type) - len(name) - 6, 8))
    return "  ".join(
        part for part in (terminal.paint(when, "dim"), terminal.paint(type, style), name, tail) if part
    )
