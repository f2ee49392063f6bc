"""Documents as people and programs want them: tables, JSON, YAML, names."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from hivemind.cli.context import Context
from hivemind.cli.tables import render
from hivemind.model.quantity import show_bytes
from hivemind.model.resource import Column, Resource


def show_list(context: Context, resource: Resource, documents: Sequence[Any]) -> None:
    """As `-o` says; a table by default."""
    style = context.args.get("output", "table")
    if style in ("json", "yaml"):
        show_data(context, {"items": [msgspec.to_builtins(d) for d in documents]})
    elif style == "name":
        for document in documents:
            context.print(f"{resource.singular}/{identity(document)}")
    elif not documents:
        context.note(f"No {resource.plural}{_where(context, resource)}.")
    else:
        across = bool(context.args.get("all_projects")) and resource.scope == "project"
        for line in table(context, resource, documents, wide=style == "wide", project=across):
            context.print(line)


def show_one(context: Context, resource: Resource, document: Any) -> None:
    if context.args.get("output") in ("json", "yaml"):
        show_data(context, msgspec.to_builtins(document))
    else:
        show_list(context, resource, [document])


def show_data(context: Context, data: Any) -> None:
    """Plain values as `-o` says: JSON, or YAML that reads back as the same."""
    if context.args.get("output") == "yaml":
        from hivemind.protocols.yaml12 import dump

        context.print(dump(data).rstrip("\n"))
    else:
        context.print(msgspec.json.format(msgspec.json.encode(data), indent=2).decode())


def identity(document: Any) -> str:
    """The name by which people call it; replicas share theirs, so an id it is."""
    unique_by_name = getattr(document, "kind", "") not in ("Allocation", "Event")
    return str(document.name if unique_by_name else document.id)


def table(
    context: Context,
    resource: Resource,
    documents: Sequence[Any],
    *,
    wide: bool = False,
    project: bool = False,
    indent: int = 0,
) -> list[str]:
    """`indent`: columns that will stand before each line."""
    columns = [c for c in resource.columns if wide or not c.wide]
    if project:
        columns.insert(0, Column("PROJECT", "project"))
    rows = [[cell(c, c.value(d)) for c in columns] for d in documents]
    width = context.terminal.width - indent
    return render([c.header for c in columns], rows, width, context.terminal.mood)


def cell(column: Column, value: Any) -> str:
    if value is None or value in ("", ()):
        return "-"
    if column.format == "age":
        return age(value)
    if column.format == "bytes":
        return show_bytes(value)
    if column.format == "list":
        return ",".join(str(v) for v in value)
    if column.format == "short":
        return short(str(value))
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def short(identifier: str) -> str:
    """A digest or key, long enough to tell it from others."""
    return identifier.removeprefix("sha256:")[:12]


def age(milliseconds: int, now: float | None = None) -> str:
    """How long ago, in one unit: `12s`, `5m`, `3h`, `2d`."""
    if not milliseconds:
        return "-"
    seconds = max(int((time.time() if now is None else now) - milliseconds / 1000), 0)
    for unit, size, least in (("d", 86400, 2 * 86400), ("h", 3600, 2 * 3600), ("m", 60, 120)):
        if seconds >= least:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _where(context: Context, resource: Resource) -> str:
    everywhere = resource.scope == "hive" or context.args.get("all_projects") or context.project == "default"
    return "" if everywhere else f" in project {context.project}"
