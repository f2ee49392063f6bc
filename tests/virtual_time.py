"""An event loop whose clock jumps: waiting costs no time, so tests of back-offs and graces take no seconds.

When nothing is ready the loop does not sleep until the next timer: it sets its clock to it. Work in threads
goes on in real time beside it.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Any

START = 1_000_000.0


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._now = START
        selector = selectors.DefaultSelector()
        super().__init__(selector)
        really_wait = selector.select

        def select(timeout: float | None = None) -> Any:
            found = really_wait(0 if timeout else timeout)
            if not found and timeout:
                self._now += timeout
            return found

        selector.select = select  # type: ignore[method-assign]

    def time(self) -> float:
        return self._now

    def milliseconds(self) -> int:
        """The same clock as milliseconds since 1970."""
        return int(self._now * 1000)


VIRTUAL: tuple[str, dict[str, Callable[[], asyncio.AbstractEventLoop]]] = (
    "asyncio",
    {"loop_factory": VirtualLoop},
)
"""For the fixture `anyio_backend` of a test module."""
