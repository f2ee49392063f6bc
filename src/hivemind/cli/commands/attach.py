"""`hivemind attach`: this terminal tied to what a replica itself runs."""

from __future__ import annotations

from hivemind.cli.context import Context
from hivemind.cli.targets import looked_into


def attach(context: Context) -> int:
    from hivemind.cli.attach import DETACH, attach, detach_keys, size

    args = context.args
    keys = detach_keys(args.get("detach_keys", DETACH))
    replica, container = looked_into(context, args.name)
    spec = context.hive.apps.get(replica.app, replica.project).spec
    if not spec.tty and not spec.stdin:
        context.note(f"{replica.name} reads no input (it was started without -i); Ctrl-C leaves it running")
    columns, rows = size() if spec.tty else (0, 0)
    session = context.hive.allocations.attach(
        replica.id, replica.project, container=container, columns=columns, rows=rows
    )
    with session:
        code = attach(session, interactive=spec.stdin and not args.no_stdin, tty=spec.tty, detach=keys)
    if code is None:
        context.note(f"\r\nleft; it goes on: hivemind attach {replica.name}")
    return code or 0
