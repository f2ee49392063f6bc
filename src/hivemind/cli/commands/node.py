"""`hivemind node …`, `cordon`, `uncordon`, `drain`."""

from __future__ import annotations

import time

import msgspec

from hivemind.cli.changes import Changes
from hivemind.cli.context import Context
from hivemind.cli.convergence import PATIENCE
from hivemind.cli.output import show_list
from hivemind.cli.parsing import Values
from hivemind.errors import Invalid, TimedOut
from hivemind.model.node import NODE, NodeManifest
from hivemind.model.quantity import read


def ls(context: Context) -> None:
    show_list(context, NODE, context.hive.nodes.list())


def cordon(context: Context) -> None:
    node = context.hive.nodes.cordon(_name(context.args))
    context.print(f"{node.name} takes nothing new")


def uncordon(context: Context) -> None:
    node = context.hive.nodes.uncordon(_name(context.args))
    context.print(f"{node.name} takes new replicas again")


def drain(context: Context) -> None:
    changes = Changes(context.hive, "")
    node = context.hive.nodes.drain(_name(context.args))
    if context.args.detach:
        context.print(f"{node.name} is being drained")
        return
    patience = context.args.get("timeout", PATIENCE)
    left = node.allocations
    for _ in changes.looks(time.monotonic() + patience):
        left = context.hive.nodes.get(node.name).allocations
        if not left:
            context.print(f"{node.name} is drained")
            return
    raise TimedOut(
        f"{left} replicas still run on {node.name} after {patience:g} seconds",
        hint=f"it goes on; hivemind describe node {node.name}",
    )


def label(context: Context) -> None:
    node = context.hive.nodes.get(_name(context.args))
    labels = dict(node.labels)
    for text in context.args.label:
        key, equals, value = text.partition("=")
        if equals:
            labels[key] = value
        elif text.endswith("-"):
            labels.pop(text[:-1], None)
        else:
            raise Invalid(f"{text!r} is not a label", hint="write key=value to set it, key- to take it away")
    manifest = NodeManifest(name=node.name, labels=labels, schedulable=node.schedulable)
    checked = read(msgspec.to_builtins(manifest), NodeManifest)
    context.hive.nodes.put(checked, if_version=node.version)
    context.print(f"{node.name}: {', '.join(f'{k}={v}' for k, v in sorted(labels.items())) or 'no labels'}")


def _name(args: Values) -> str:
    return str(args.node)
