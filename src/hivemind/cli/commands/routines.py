"""`hivemind routine …`: the library of routines that jobs of the project call."""

from __future__ import annotations

from hivemind.cli.commands.apply import put_all, remove
from hivemind.cli.commands.get import fetch
from hivemind.cli.context import Context
from hivemind.cli.output import show_list, show_one
from hivemind.model.routine import ROUTINE


def put(context: Context) -> None:
    put_all(context, context.args.file, ROUTINE)


def ls(context: Context) -> None:
    show_list(context, ROUTINE, context.hive.routines.list(context.scope))


def info(context: Context) -> None:
    show_one(context, ROUTINE, fetch(context, ROUTINE, context.args.name))


def rm(context: Context) -> None:
    for name in context.args.name:
        remove(context, ROUTINE, name)
