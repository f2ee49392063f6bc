"""The Merkle tree over a log: perfect binary trees side by side, as in a Merkle mountain range.

Leaf `i` is entry `i + 1`. A node of level `k` stands over `2**k` leaves and begins at a multiple of that. The peaks
of a length are the perfect trees that its binary form names, the largest first; its root covers the length and the
peaks. Everything is proven in one way: pieces that cover the log from its beginning (leaves, and nodes for what is
not shown) are folded into peaks, and the root of these must be the one that the writer signed. So a cleared log, a
range of it, a single entry with its proof, and the proof that one head extends another are all the same thing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

_PERSON = b"hivemind/bee/1"
EMPTY = bytes(32)
"""The root of nothing."""


def leaf(body: bytes) -> bytes:
    return hashlib.blake2b(b"\0" + body, digest_size=32, person=_PERSON).digest()


def parent(left: bytes, right: bytes) -> bytes:
    return hashlib.blake2b(b"\1" + left + right, digest_size=32, person=_PERSON).digest()


class Peaks:
    """What must be remembered of a log to append to it, and to check what others append."""

    __slots__ = ("_peaks", "length")

    def __init__(self, length: int = 0, hashes: Iterable[bytes] = ()) -> None:
        """`hashes`: of the peaks of that length, the largest first. Raises `ValueError` when their number differs."""
        levels = [level for level in range(length.bit_length() - 1, -1, -1) if length >> level & 1]
        self._peaks = list(zip(levels, hashes, strict=True))
        self.length = length

    def copy(self) -> Peaks:
        made = Peaks()
        made._peaks, made.length = self._peaks.copy(), self.length
        return made

    @property
    def hashes(self) -> tuple[bytes, ...]:
        return tuple(hash for _, hash in self._peaks)

    def append(self, level: int, hash: bytes) -> None:
        """A node of that level behind what is there. Raises `ValueError` where such a node cannot begin."""
        if self.length & ((1 << level) - 1):
            raise ValueError("a node begins at a multiple of its size")
        self.length += 1 << level
        while self._peaks and self._peaks[-1][0] == level:
            hash = parent(self._peaks.pop()[1], hash)
            level += 1
        self._peaks.append((level, hash))

    def prefixes(self) -> Iterator[tuple[int, bytes]]:
        """The lengths up to each peak, the shortest first, with the roots that the log had there."""
        shorter = Peaks()
        for level, hash in self._peaks:
            shorter.append(level, hash)
            yield shorter.length, shorter.root()

    def root(self) -> bytes:
        if not self.length:
            return EMPTY
        covered = b"\2" + self.length.to_bytes(8, "big") + b"".join(hash for _, hash in self._peaks)
        return hashlib.blake2b(covered, digest_size=32, person=_PERSON).digest()


def spans(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The fewest nodes that cover the leaves from `start` until before `end`, as (first leaf, level)."""
    while start < end:
        level = (end - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        yield start, level
        start += 1 << level
