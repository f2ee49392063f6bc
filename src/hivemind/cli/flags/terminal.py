"""A terminal and an open input for the app's own process, for `attach` and `run -it`."""

from __future__ import annotations

from typing import Any

from hivemind.cli.parsing import Values
from hivemind.model.app import AppSpec


def changes(args: Values, base: AppSpec) -> dict[str, Any]:
    return {
        "tty": True if args.get("tty") else None,
        "stdin": True if args.get("interactive") else None,
    }
