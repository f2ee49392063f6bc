"""`hivemind node …`, `cordon`, `uncordon`, `drain`."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec

from hivemind.cli.changes import Changes
from hivemind.cli.context import Context
from hivemind.cli.convergence import PATIENCE
from hivemind.cli.output import show_list, show_one
from hivemind.cli.parsing import Values
from hivemind.errors import Invalid, NotFound, TimedOut
from hivemind.model.node import NODE, NodeDocument, NodeManifest
from hivemind.model.quantity import read


def ls(context: Context) -> None:
    show_list(context, NODE, context.hive.nodes.list())


def cordon(context: Context) -> None:
    node = context.hive.nodes.cordon(_name(context.args))
    context.print(f"{node.name} takes nothing new")


def uncordon(context: Context) -> None:
    node = context.hive.nodes.uncordon(_name(context.args))
    context.print(f"{node.name} takes new replicas again")


def describe(context: Context) -> None:
    if context.args.output not in (None, "table"):
        show_one(context, NODE, context.hive.nodes.get(_name(context.args)))
        return
    from hivemind.cli.commands.describe import describe_node

    describe_node(context, _name(context.args))


def drain(context: Context) -> None:
    changes = Changes(context.hive, "")
    deadline = context.args.get("deadline") or 0.0
    node = context.hive.nodes.drain(_name(context.args), deadline=deadline, force=context.args.force)
    if context.args.detach:
        context.print(f"{node.name} is being drained")
        return
    left = -1
    for there in _looks(context, changes, node.name):
        if there is None or not there.allocations:
            context.print(f"{node.name} is drained")
            return
        left = _told(context, there, left)
    raise TimedOut(
        f"{_replicas(left)} still on {node.name} after {_patience(context):g} seconds",
        hint=f"it goes on; hivemind node describe {node.name}",
    )


def rm(context: Context) -> None:
    changes = Changes(context.hive, "")
    node = context.hive.nodes.remove(_name(context.args), force=context.args.force)
    if context.args.detach:
        context.print(f"{node.name} is leaving")
        return
    left = -1
    for there in _looks(context, changes, node.name):
        if there is None or there.id != node.id:
            context.print(f"{node.name} has left the hive")
            return
        left = _told(context, there, left)
    votes = "; others do not decide in its place yet" if left == 0 else ""
    raise TimedOut(
        f"{_replicas(left)} still on {node.name} after {_patience(context):g} seconds{votes}",
        hint=f"it goes on; hivemind node describe {node.name}",
    )


def _looks(context: Context, changes: Changes, name: str) -> Iterator[NodeDocument | None]:
    """The node whenever something may have changed, until patience ends; None once there is none."""
    for _ in changes.looks(time.monotonic() + _patience(context)):
        try:
            yield context.hive.nodes.get(name)
        except NotFound:
            yield None


def _told(context: Context, node: NodeDocument, before: int) -> int:
    """Says how many replicas are left, when that changed."""
    if node.allocations != before and node.allocations:
        context.print(f"{_replicas(node.allocations)} left on {node.name}")
    return node.allocations


def _replicas(count: int) -> str:
    return f"{max(count, 0)} {'replica' if count == 1 else 'replicas'}"


def _patience(context: Context) -> float:
    return float(context.args.get("timeout") or PATIENCE)


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
