"""Asking before what cannot be taken back."""

from __future__ import annotations

import sys

from hivemind.cli.context import Context
from hivemind.errors import Invalid


def confirm(context: Context, what: str) -> None:
    """Returns when `--force` was given or a person says yes; raises `Invalid` otherwise."""
    _ask(what, "--force", given=context.args.force)


def agree(context: Context, what: str) -> None:
    """As `confirm`, of a command whose word for that is `--yes`."""
    _ask(what, "--yes", given=context.args.yes)


def _ask(what: str, flag: str, *, given: bool) -> None:
    if given:
        return
    if not sys.stdin.isatty():
        raise Invalid(f"{what} Nobody is there to be asked", hint=f"give {flag}")
    print(f"{what} Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Invalid("nothing was done", hint="say y to go on")
