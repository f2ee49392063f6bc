"""Deadlines for what a runtime or network is asked: one that hangs must not hang its worker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from typing import Any, TypeVar

from hivemind.errors import Unavailable

T = TypeVar("T")

WORK = 120.0
"""Seconds for what takes a fraction of one: a busy machine gets its time, one that hangs is not waited for."""
TIDY = 5.0
"""Seconds for closing what is not needed any more."""


async def within(seconds: float, awaitable: Awaitable[T], what: str) -> T:
    """`Unavailable`, so that it is tried again, when it takes longer. `what` as in `starting the container`."""
    begun = awaitable.__await__()
    try:
        first = next(begun)
    except StopIteration as done:  # without waiting for anything, so that no timer is needed
        return done.value  # type: ignore[no-any-return]
    try:
        async with asyncio.timeout(seconds) as limit:
            return await _Begun(begun, first)
    except TimeoutError:
        if not limit.expired():
            raise
        raise Unavailable(
            f"{what} took longer than {seconds:g}s", hint="the runtime hangs; its own log may tell why"
        ) from None


class _Begun(Awaitable[T]):
    """The rest of something that waits for `first` already."""

    def __init__(self, begun: Generator[Any, Any, T], first: Any) -> None:
        self._begun, self._first = begun, first

    def __await__(self) -> Generator[Any, Any, T]:
        step = self._first
        try:
            while True:
                try:
                    sent = yield step
                except GeneratorExit:
                    self._begun.close()
                    raise
                except BaseException as error:
                    step = self._begun.throw(error)
                else:
                    step = self._begun.send(sent)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
