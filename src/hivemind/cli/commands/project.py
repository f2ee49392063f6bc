"""`hivemind project …`."""

from __future__ import annotations

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
