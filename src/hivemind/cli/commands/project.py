"""`hivemind project …`."""

from __future__ import annotations

from collections.abc import Callable

from hivemind.cli.context import Context
from hivemind.cli.flags.text import pairs
from hivemind.cli.output import show_list
from hivemind.model.project import PROJECT, ProjectManifest
from hivemind.model.quantity import read


def ls(context: Context) -> None:
    show_list(context, PROJECT, context.hive.projects.list())


def create(context: Context) -> None:
    wished = {"name": context.args.name, "labels": pairs(context.args.label, "--label")}
    project = context.hive.projects.create(read(wished, ProjectManifest))
    context.print(f"project {project.name} made; use it with --project {project.name}")


def rm(context: Context) -> None:
    context.hive.projects.delete(context.args.name)
    context.print(f"project {context.args.name} removed")


def allow(context: Context) -> None:
    _permit(context, lambda held, named: held | named)


def deny(context: Context) -> None:
    _permit(context, lambda held, named: held - named)


def _permit(context: Context, change: Callable[[set[str], set[str]], set[str]]) -> None:
    """Somebody else who changes the project meanwhile is not undone."""
    present = context.hive.projects.get(context.args.name)
    permissions = sorted(change(set(present.permissions), set(context.args.permission)))
    wished = {"name": present.name, "labels": present.labels, "permissions": permissions}
    project = context.hive.projects.put(read(wished, ProjectManifest), if_version=present.version)
    allowed = ", ".join(project.permissions) or "nothing beyond the ordinary"
    context.print(f"project {project.name} allows {allowed}")
