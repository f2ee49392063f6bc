"""What happened, in the order in which it happened: readable lines of the newest, and a digest of all of it."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from hivemind.protocols.machine import Micros


class Entry(NamedTuple):
    time: Micros
    who: str
    verb: str
    """`receives`, `crashes`, …"""
    text: str
    message: bytes


class Trace:
    """The digest covers the bytes of each message, the lines what `describe` makes of them: that is called only
    for lines that somebody reads."""

    def __init__(self, keep: int, describe: Callable[[bytes], str]) -> None:
        self._entries: deque[Entry] = deque(maxlen=keep)
        self._hash = hashlib.blake2b(digest_size=16)
        self.describe = describe

    def note(self, time: Micros, who: str, verb: str, text: str = "", message: bytes = b"") -> None:
        self._hash.update(b"%d %b %d\n%b" % (time, f"{who} {verb} {text}".encode(), len(message), message))
        self._entries.append(Entry(time, who, verb, text, message))

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def lines(self) -> list[str]:
        return [self._line(entry) for entry in self._entries]

    def _line(self, entry: Entry) -> str:
        what = " ".join(part for part in (entry.verb, entry.text, self._described(entry.message)) if part)
        return f"{entry.time / 1e6:10.6f}  {entry.who:<6} {what}"

    def _described(self, message: bytes) -> str:
        return self.describe(message) if message else ""
