"""`hivemind cluster token …`: let nodes join, see how many still may, take it back."""

from __future__ import annotations

import math
import time

import msgspec

from hivemind.cli.context import Context
from hivemind.cli.output import age, short, show_data
from hivemind.cli.tables import render
from hivemind.model.cluster import JoinTokenRequest
from hivemind.model.quantity import read


def create(context: Context) -> None:
    """Standard output is the token alone, so that a script can pass it on."""
    args = context.args
    wish = {"role": args.get("role"), "uses": args.get("uses"), "expires": args.get("expires")}
    given = {key: value for key, value in wish.items() if value is not None}
    asked = read({**given, "addresses": not args.no_addresses}, JoinTokenRequest)
    made = context.hive.cluster.new_token(asked)
    if args.get("output") in ("json", "yaml"):
        show_data(context, msgspec.to_builtins(made))
        return
    context.print(made.token)
    times = "once" if made.uses == 1 else f"{made.uses} times"
    context.note(
        f"Good {times}, for a {made.role}, for {left(made.expires)}. It cannot be shown again; keep it secret."
    )
    context.note(f"On the other machine: hivemind cluster join {made.token[:12]}…{_finding(asked)}")


def _finding(asked: JoinTokenRequest) -> str:
    return "" if asked.addresses else " --seed HOST:PORT, unless it knows a node by its settings"


def ls(context: Context) -> None:
    found = context.hive.cluster.tokens()
    if context.args.get("output") in ("json", "yaml"):
        show_data(context, {"items": [msgspec.to_builtins(token) for token in found]})
        return
    if not found:
        context.note("No join tokens.")
        return
    rows = [(short(t.id), t.role, str(t.uses), left(t.expires), t.by or "-", age(t.created)) for t in found]
    for line in render(("ID", "ROLE", "USES", "EXPIRES", "BY", "AGE"), rows, context.terminal.width):
        context.print(line)


def rm(context: Context) -> None:
    for id in context.args.id:
        context.hive.cluster.revoke(id)
        context.print(f"join token {id} is void")


def left(until: int) -> str:
    """How long from now, in one unit; a second that has begun counts as whole."""
    now = time.time() * 1000
    remaining = math.ceil((until - now) / 1000) * 1000
    return age(round(now - remaining)) if remaining > 0 else "nothing: it has expired"
