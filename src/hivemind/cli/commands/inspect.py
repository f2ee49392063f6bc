"""`hivemind inspect`, `port` and `diff`: docker's views of one thing."""

from __future__ import annotations

from typing import Any

import msgspec

from hivemind.cli.context import Context
from hivemind.cli.output import show_data
from hivemind.cli.targets import App, Replica, looked_into, resolve
from hivemind.errors import HivemindError, Invalid, NotFound, nearest
from hivemind.model.registry import RESOURCES, find
from hivemind.model.resource import Resource

_FIRST = ("App", "Allocation", "Node", "Image", "Project", "Deployment")
"""Where a name is looked for first; then in all the other kinds."""
_LETTERS = {"added": "A", "changed": "C", "deleted": "D"}


def inspect(context: Context) -> int:
    """Prints what was found even if something was not; the exit code then says so."""
    found: list[Any] = []
    missing: list[str] = []
    kinds = [find(context.args.type)] if context.args.type else _kinds()
    for name in context.args.name:
        document = _named(context, kinds, name)
        if document is None:
            missing.append(name)
        else:
            found.append(msgspec.to_builtins(document))
    show_data(context, found)
    for name in missing:
        context.note(f"error: there is nothing called {name!r} in project {context.project}")
    if missing:
        context.note("hint: hivemind ps -a lists replicas, hivemind get KIND all of a kind")
    return NotFound.exit_code if missing else 0


def _kinds() -> list[Resource]:
    first = [RESOURCES[kind] for kind in _FIRST if kind in RESOURCES]
    return first + [r for r in RESOURCES.values() if r not in first and r.kind != "Event"]


def _named(context: Context, kinds: list[Resource], name: str) -> Any | None:
    for resource in kinds:
        try:
            return context.hive.collection(resource).get(name, context.project)
        except (NotFound, Invalid):  # a name that this kind cannot have is not there either
            continue
        except HivemindError as error:
            if error.status == 403:  # not for this person to see
                continue
            raise
    return _task(context, name)


def _task(context: Context, name: str) -> Any | None:
    """`nightly-7/train`: a task of a run, with all its attempts."""
    run, slash, path = name.partition("/")
    if not slash:
        return None
    try:
        return context.hive.runs.task(run, path, context.project)
    except NotFound:
        return None


def port(context: Context) -> None:
    """`80/tcp -> 0.0.0.0:8080`, docker's way; with a port only where that one is published."""
    args = context.args
    target = resolve(context, args.name)
    app = context.hive.apps.get(
        target.name if isinstance(target, App) else target.document.app, context.project
    )
    wanted = _wanted(args.port) if args.port else None
    shown = 0
    for declared in app.spec.ports:
        key = f"{declared.container}/{declared.protocol}"
        if not declared.host or (wanted and wanted != key):
            continue
        place = f"0.0.0.0:{declared.host}"
        context.print(place if wanted else f"{key} -> {place}")
        shown += 1
    if isinstance(target, Replica) and not args.port:
        for key, actual in sorted(target.document.status.ports.items()):
            context.print(f"{key} -> {target.document.status.ip or '127.0.0.1'}:{actual}")
            shown += 1
    if not shown and args.port:
        known = [f"{p.container}/{p.protocol}" for p in app.spec.ports if p.host]
        raise NotFound(
            f"port {wanted} of {app.name} is not published",
            hint=nearest(str(wanted), known) or f"published are: {', '.join(known) or 'none'}",
        )


def _wanted(text: str) -> str:
    number, slash, protocol = text.partition("/")
    if not number.isdigit() or protocol not in ("", "tcp", "udp") or (slash and not protocol):
        raise Invalid(f"{text!r} is not a port", hint="write it like 80 or 53/udp")
    return f"{int(number)}/{protocol or 'tcp'}"


def diff(context: Context) -> None:
    replica, container = looked_into(context, context.args.name)
    found = context.hive.allocations.changes(replica.id, replica.project, container=container)
    if context.args.output in ("json", "yaml"):
        show_data(context, {"items": [msgspec.to_builtins(change) for change in found]})
        return
    for change in found:
        context.print(f"{_LETTERS[change.kind]} {change.path}")
