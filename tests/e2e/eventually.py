"""Waiting for what must come: by looking again, with a deadline that only a defect reaches."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from hivemind.errors import HivemindError

T = TypeVar("T")
_BETWEEN = 0.03
"""Seconds between two looks."""


def eventually(probe: Callable[[], T], what: str = "", seconds: float = 90.0) -> T:
    """The first true answer. A failed assertion, a refused connection or an error of Hivemind's is a no.

    At the deadline the last of them is raised."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if found := probe():
                return found
            problem: Exception = AssertionError(f"not {what or 'true'} after {seconds:g}s: {found!r}")
        except (AssertionError, OSError, HivemindError) as error:
            problem = error
        if time.monotonic() > deadline:
            raise AssertionError(f"{what or 'it'} did not happen within {seconds:g}s: {problem}") from problem
        time.sleep(_BETWEEN)
