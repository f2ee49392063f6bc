"""Tells a torn tail of SQLite's write-ahead log from damage in its middle.

SQLite ignores everything from the first frame whose checksum fails. After a crash that is right: the tail is
a transaction nobody was told about. But if whole transactions of the same generation follow the bad frame,
then acknowledged ones would vanish without a word. A transaction starts only after the one before it was
synced, so frames that follow a commit frame beyond the bad one prove that the disk lost what it had promised.

The layout is that of "The Write-Ahead Log" in SQLite's file format documentation.
"""

from __future__ import annotations

import struct
from pathlib import Path

_HEADER = 32
_FRAME_HEADER = 24
_BIG_ENDIAN_MAGIC = 0x377F0683
_LITTLE_ENDIAN_MAGIC = 0x377F0682
_WORD = 0xFFFFFFFF


def damaged(path: Path) -> bool:
    """Transactions that were durable lie behind a bad frame. A missing or empty log is not damaged."""
    try:
        log = memoryview(path.read_bytes())
    except FileNotFoundError:
        return False
    if len(log) < _HEADER + _FRAME_HEADER:
        return False
    magic, _, page, _, *salts = struct.unpack_from(">6I", log)
    order = {_LITTLE_ENDIAN_MAGIC: "<", _BIG_ENDIAN_MAGIC: ">"}.get(magic)
    sums = _checksum(log[:24], order, 0, 0) if order else None
    if order is None or sums != struct.unpack_from(">2I", log, 24):
        return True  # the header is written once, in one sector, and synced before any commit counts
    bad = _first_bad_frame(log, page, order, salts, sums)
    return _commits_are_followed(log, page, salts, bad)


def _first_bad_frame(log: memoryview, page: int, order: str, salts: list[int], sums: tuple[int, int]) -> int:
    """Offset of the first frame that SQLite would not believe."""
    at = _HEADER
    while at + _FRAME_HEADER + page <= len(log):
        _, _, *rest = struct.unpack_from(">6I", log, at)
        sums = _checksum(log[at : at + 8], order, *sums)
        sums = _checksum(log[at + _FRAME_HEADER : at + _FRAME_HEADER + page], order, *sums)
        if rest != [*salts, *sums]:
            break
        at += _FRAME_HEADER + page
    return at


def _commits_are_followed(log: memoryview, page: int, salts: list[int], at: int) -> bool:
    """Some frame of this generation at or behind `at` ends a transaction and another one follows it."""
    committed = False
    while at + _FRAME_HEADER <= len(log):
        _, size, *found = struct.unpack_from(">4I", log, at)
        if (
            found[0] == salts[0] or found[1] == salts[1]
        ):  # an older generation shares neither; damage spares one
            if committed:
                return True
            committed = size > 0
        at += _FRAME_HEADER + page
    return False


def _checksum(data: memoryview, order: str, first: int, second: int) -> tuple[int, int]:
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & _WORD
        second = (second + odd + first) & _WORD
    return first, second
