"""`hivemind token …`: let people in, see who is in, take it back."""

from __future__ import annotations

import os

from hivemind.cli.context import Context
from hivemind.cli.output import show_data, show_list
from hivemind.model.principal import PRINCIPAL, PrincipalManifest
from hivemind.model.quantity import read
from hivemind.security.identity import Identity


def ls(context: Context) -> None:
    """People and programs; nodes are principals too, but nobody gives them tokens."""
    show_list(context, PRINCIPAL, [p for p in context.hive.principals.list() if p.type == "person"])


def create(context: Context) -> None:
    """The private key is made here and stays here: the hive is told the public one."""
    key = Identity(os.urandom(32))
    wished = {"name": context.args.name, "role": context.args.get("role") or "viewer", "key": key.public}
    made = context.hive.principals.create(read(wished, PrincipalManifest))
    if context.args.get("output") in ("json", "yaml"):
        show_data(context, {"name": made.name, "role": made.role, "key": made.key, "token": key.token()})
        return
    context.print(key.token())
    context.note(f"{made.name} is let in as {made.role}. This token cannot be shown again; keep it secret.")
    context.note(f"To use it: HIVEMIND_TOKEN={key.token()[:6]}… hivemind --host {_address(context)} ps")


def rm(context: Context) -> None:
    for name in context.args.name:
        context.hive.principals.delete(name)
        context.print(f"token of {name} taken back")


def _address(context: Context) -> str:
    """The one that was used, unless it is this machine's own socket."""
    endpoint = context.hive.endpoint
    return "https://NODE:3000" if endpoint.startswith("unix:") else endpoint
