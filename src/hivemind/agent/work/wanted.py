"""Waiting for something only as long as it is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from hivemind.agent.work.deadline import TIDY

T = TypeVar("T")


class Interrupted(Exception):
    """The hive does not want the allocation any more; what was being waited for is moot."""


async def while_wanted(
    awaitable: Awaitable[T],
    wake: asyncio.Event,
    unwanted: Callable[[], bool],
    meanwhile: Callable[[], float | None] = lambda: None,
) -> T:
    """`unwanted` is asked, and `meanwhile` called, whenever `wake` is set, and again after the seconds that the
    latter says."""
    task = asyncio.ensure_future(awaitable)
    try:
        while not task.done():
            wake.clear()
            if unwanted():
                raise Interrupted
            waker = asyncio.ensure_future(wake.wait())
            try:
                await asyncio.wait((task, waker), timeout=meanwhile(), return_when=asyncio.FIRST_COMPLETED)
            finally:
                waker.cancel()
        return task.result()
    finally:
        if task.cancel():
            await asyncio.wait((task,), timeout=TIDY)  # what follows must not meet it still at work
