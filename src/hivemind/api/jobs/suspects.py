"""Who guesses signatures: after so many wrong ones an address is not listened to for a while."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from hivemind.errors import Unavailable

_MOST = 60
"""Wrong signatures of one address in a minute."""
_PERIOD = 60.0
_KNOWN = 4096
"""Addresses that are remembered, the newest."""


class Suspects:
    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._wrong: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """Address -> when its minute began, and how many there were in it."""

    def check(self, who: str) -> None:
        """Raises `Unavailable`."""
        began, count = self._wrong.get(who, (0.0, 0))
        if count >= _MOST and self._now() - began < _PERIOD:
            raise Unavailable("too many wrong signatures came from there", hint="wait a minute")

    def note(self, who: str) -> None:
        now = self._now()
        began, count = self._wrong.get(who, (now, 0))
        if now - began >= _PERIOD:
            began, count = now, 0
        self._wrong[who] = (began, count + 1)
        self._wrong.move_to_end(who)
        while len(self._wrong) > _KNOWN:
            self._wrong.popitem(last=False)
