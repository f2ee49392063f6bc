"""Telling subscribers what changed, in the order in which it did."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable

from hivemind.store.contract import Entry

_logger = logging.getLogger(__name__)
Callback = Callable[[Iterable[Entry]], None]


class Notices:
    def __init__(self) -> None:
        self.subscribers: list[tuple[str, Callback]] = []
        self._waiting: deque[list[Entry]] = deque()
        self._telling = False

    def subscribe(self, prefix: str, callback: Callback) -> Callable[[], None]:
        member = (prefix, callback)
        self.subscribers.append(member)
        return lambda: self.subscribers.remove(member) if member in self.subscribers else None

    def tell(self, entries: list[Entry]) -> None:
        """A subscriber that writes is heard after everyone has heard what it reacts to."""
        self._waiting.append(entries)
        if self._telling:
            return
        self._telling = True
        try:
            while self._waiting:
                self._tell_everyone(self._waiting.popleft())
        finally:
            self._telling = False

    def _tell_everyone(self, entries: list[Entry]) -> None:
        for prefix, callback in tuple(self.subscribers):
            touched = [entry for entry in entries if entry.key.startswith(prefix)]
            if not touched:
                continue
            try:
                callback(touched)
            except Exception:
                _logger.exception("a subscriber of %r in the store failed", prefix)
