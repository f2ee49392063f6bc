"""Deadlines for what a runtime or network is asked: one that hangs must not hang its worker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from hivemind.errors import Unavailable

T = TypeVar("T")

WORK = 120.0
"""Seconds for what takes a fraction of one: a busy machine gets its time, one that hangs is not waited for."""
TIDY = 5.0
"""Seconds for closing what is not needed any more."""


async def within(seconds: float, awaitable: Awaitable[T], what: str) -> T:
    """`Unavailable`, so that it is tried again, when it takes longer. `what` as in `starting the container`."""
    try:
        async with asyncio.timeout(seconds) as limit:
            return await awaitable
    except TimeoutError:
        if not limit.expired():
            raise
        raise Unavailable(
            f"{what} took longer than {seconds:g}s", hint="the runtime hangs; its own log may tell why"
        ) from None
