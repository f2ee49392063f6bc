"""`hivemind completion SHELL`, and the hidden command that the shells ask."""

from __future__ import annotations

from hivemind.cli import completion as scripts
from hivemind.cli.context import Context


def completion(context: Context) -> None:
    context.terminal.out.write(scripts.SCRIPTS[context.args.shell])


def complete(context: Context) -> None:
    for word, meaning in scripts.candidates(context, context.args.words or [""]):
        context.print(f"{word}\t{meaning}" if meaning else word)
