"""Signals by the names that people write."""

from __future__ import annotations

import signal

from hivemind.errors import Invalid


def signal_number(name: str) -> int:
    """`SIGTERM`, `TERM` or `15` -> 15. Raises `Invalid` for anything else."""
    try:
        if name.isdigit():
            return signal.Signals(int(name))
        return signal.Signals[name if name.startswith("SIG") else f"SIG{name}"]
    except (KeyError, ValueError):
        raise Invalid(f"{name!r} is not a signal", hint="write it like SIGTERM, or as its number") from None
