"""Disks: what is written and not synced yet may be gone after a crash, and the last record may be half there.

A log is a sequence of records, each with its length and checksum, and a head that says how far they go, as the
ledger's file has one. What is durable survives every crash. Of what was written after that, a crash leaves any
beginning: some records whole, and bytes of the next one. Such a tail is cut off. Damage before the end is another
matter: records that had their effect are lost, and who opens the log must be told.
"""

from __future__ import annotations

import hashlib
from collections import deque
from random import Random

from hivemind.errors import Corrupt
from hivemind.protocols.machine import Persist

_LENGTH, _CHECKSUM = 4, 8


class Log:
    """The durable records of one machine."""

    def __init__(self) -> None:
        self._durable = bytearray()
        self._pending: deque[Persist] = deque()
        self._whole = 0
        """The head: how many bytes of durable records there are."""

    def write(self, persist: Persist) -> None:
        self._pending.append(persist)

    def sync(self, count: int) -> None:
        """The oldest `count` of what was written are durable."""
        for _ in range(count):
            persist = self._pending.popleft()
            if persist.replaces:  # a file made aside and renamed: the old one or the new one, nothing between
                self._durable.clear()
            self._durable += _frame(persist.record)
            self._whole = len(self._durable)

    @property
    def writing(self) -> bool:
        """A record is being appended, of which a crash may leave half."""
        return bool(self._pending) and not self._pending[0].replaces

    def crash(self, dice: Random) -> bool:
        """True: a record was torn."""
        survive = dice.randrange(len(self._pending) + 1)
        self.sync(survive)
        torn = False
        if self.writing:
            frame = _frame(self._pending[0].record)
            kept = dice.randrange(len(frame))
            self._durable += frame[:kept]
            torn = kept > 0
        self._pending.clear()
        return torn

    def tear(self, dice: Random) -> None:
        """A crash that leaves a beginning of the first record that is being appended, and nothing behind it."""
        frame = _frame(self._pending[0].record)
        self._durable += frame[: 1 + dice.randrange(len(frame) - 1)]
        self._pending.clear()

    def rot(self, dice: Random) -> bool:
        """One bit of what was durable is another; False: there is nothing yet."""
        if not self._whole:
            return False
        self._durable[dice.randrange(self._whole)] ^= 1 << dice.randrange(8)
        return True

    def lose(self) -> None:
        """The whole disk."""
        self._durable.clear()
        self._pending.clear()
        self._whole = 0

    def read(self) -> list[bytes]:
        """The records that are whole; a torn tail is cut off, as who opens a log does. Raises `Corrupt` when a
        durable record is damaged."""
        records: list[bytes] = []
        position = 0
        while position < self._whole:
            record = _record_at(self._durable, position)
            if record is None:
                raise Corrupt(f"record {len(records)} is damaged", hint="take the log away")
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
