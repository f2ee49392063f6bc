"""What delivers a notice. One file for each kind of addressee."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from hivemind.model.notice import Notice

TIMEOUT = 15.0
"""Seconds that the other side may take for each of its answers."""

Resolve = Callable[[str], str]
"""A URL or key as it is written in a job -> as it is: what `secret:<name>/<key>` holds, anything else itself."""


class Undelivered(Exception):
    """Why the other side did not take it, in words that hold no secret: addresses may be ones."""


class Courier(Protocol):
    def __call__(self, notice: Notice, resolve: Resolve) -> None:
        """Blocks; called on a thread. Raises `Undelivered`, `HivemindError` or `OSError`."""
