"""Disks: what is written and not synced yet may be gone after a crash, and the last record may be half there.

A log is a sequence of records, each with its length and checksum. What is durable survives every crash. Of what
was written after that, a crash leaves any beginning: some records whole, and bytes of the next one. Reading ends
at the first record that is not whole; that such a tail is not taken for a record is what the checksum is for.
"""

from __future__ import annotations

import hashlib
from collections import deque
from random import Random

from hivemind.protocols.machine import Persist

_LENGTH, _CHECKSUM = 4, 8


class Log:
    """The durable records of one machine."""

    def __init__(self) -> None:
        self._durable = bytearray()
        self._pending: deque[Persist] = deque()

    def write(self, persist: Persist) -> None:
        self._pending.append(persist)

    def sync(self, count: int) -> None:
        """The oldest `count` of what was written are durable."""
        for _ in range(count):
            persist = self._pending.popleft()
            if persist.replaces:  # a file made aside and renamed: the old one or the new one, nothing between
                self._durable.clear()
            self._durable += _frame(persist.record)

    def crash(self, dice: Random) -> bool:
        """True: a record was torn."""
        survive = dice.randrange(len(self._pending) + 1)
        self.sync(survive)
        torn = False
        if self._pending and not self._pending[0].replaces:
            frame = _frame(self._pending[0].record)
            kept = dice.randrange(len(frame))
            self._durable += frame[:kept]
            torn = kept > 0
        self._pending.clear()
        return torn

    def lose(self) -> None:
        """The whole disk."""
        self._durable.clear()
        self._pending.clear()

    def read(self) -> list[bytes]:
        """The records that are whole; a torn tail is cut off, as who opens a log does."""
        records, position = [], 0
        while True:
            record = _record_at(self._durable, position)
            if record is None:
                break
            records.append(record)
            position += _LENGTH + _CHECKSUM + len(record)
        del self._durable[position:]
        return records


def _frame(record: bytes) -> bytes:
    return len(record).to_bytes(_LENGTH, "big") + _checksum(record) + record


def _checksum(record: bytes) -> bytes:
    return hashlib.blake2b(record, digest_size=_CHECKSUM).digest()


def _record_at(log: bytearray, position: int) -> bytes | None:
    start = position + _LENGTH + _CHECKSUM
    end = start + int.from_bytes(log[position : position + _LENGTH], "big")
    if start > len(log) or end > len(log):
        return None
    record = bytes(log[start:end])
    return record if _checksum(record) == log[position + _LENGTH : start] else None
