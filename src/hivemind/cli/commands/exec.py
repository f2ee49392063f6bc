"""`hivemind exec` and `app exec`: a command inside a replica, with a terminal if wished."""

from __future__ import annotations

import os
import sys

from hivemind.cli.context import Context
from hivemind.cli.flags.text import pairs
from hivemind.cli.targets import looked_into
from hivemind.errors import Invalid


def execute(context: Context) -> int:
    from hivemind.cli.attach import attach, size

    args = context.args
    if args.tty and args.interactive and not sys.stdin.isatty():
        raise Invalid("standard input is not a terminal", hint="leave out -t")
    env = pairs([_taken(e) for e in args.env], "--env")
    replica, container = looked_into(context, args.name)
    columns, rows = size()
    session = context.hive.allocations.exec(
        replica.id,
        args.command,
        context.project,
        env={**({"TERM": os.environ.get("TERM", "xterm")} if args.tty else {}), **env},
        user=args.user or "",
        workdir=args.workdir or "",
        tty=args.tty,
        stdin=args.interactive,
        columns=columns,
        rows=rows,
        container=container,
    )
    with session:
        return attach(session, interactive=args.interactive, tty=args.tty) or 0


def _taken(text: str) -> str:
    if "=" in text:
        return text
    if text not in os.environ:
        raise Invalid(f"--env {text} names a variable that is not set here", hint=f"write --env {text}=VALUE")
    return f"{text}={os.environ[text]}"
