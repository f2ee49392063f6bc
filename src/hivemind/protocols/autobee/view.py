"""The sorted key-value view: immutable versions that share what did not change, with a digest of the contents.

Keys stand in chunks of about 64. A chunk begins at each key whose hash says so (and at the first one), so equal
contents make equal chunks, whatever way they came about: as in a prolly tree, of two levels. A change makes one new
chunk; what a version shares with another one is skipped in comparing them, and the digest of a chunk is computed
once, when somebody asks for it.
"""

from __future__ import annotations

import hashlib
import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping

import msgspec

from hivemind.protocols.autobee.entry import Entry
from hivemind.protocols.autobee.log import Piece, cleared, fold
from hivemind.protocols.autobee.tree import Peaks, leaf

_encode = msgspec.msgpack.Encoder().encode
_ODDS = 4
"""Of 256: how many keys begin a chunk."""


class _Chunk:
    __slots__ = ("_root", "entries", "keys")

    def __init__(self, keys: tuple[str, ...], entries: tuple[Entry, ...]) -> None:
        self.keys, self.entries = keys, entries
        self._root: bytes | None = None

    def root(self) -> bytes:
        if self._root is None:
            self._root = _folded(self.pieces()).root()
        return self._root

    def pieces(self) -> list[Piece]:
        return [Piece(index, 0, leaf(_bytes(entry))) for index, entry in enumerate(self.entries)]


class Proof(msgspec.Struct, frozen=True, array_like=True):
    """That an entry is in the view with some digest: its chunk with all but its place as nodes, then the chunks."""

    place: int
    inside: tuple[Piece, ...]
    chunk: int
    outside: tuple[Piece, ...]


class Difference(msgspec.Struct, frozen=True):
    key: str
    old: Entry | None
    new: Entry | None


class View:
    """One version. A range of it is not disturbed by later ones."""

    __slots__ = ("_chunks", "_firsts", "size")

    def __init__(self, chunks: tuple[_Chunk, ...] = (), size: int = 0) -> None:
        self._chunks, self.size = chunks, size
        self._firsts = [chunk.keys[0] for chunk in chunks]

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Entry]:
        for chunk in self._chunks:
            yield from chunk.entries

    # -- reading ---------------------------------------------------------------------------------------------

    def get(self, key: str) -> Entry | None:
        index = bisect_right(self._firsts, key) - 1
        if index < 0:
            return None
        chunk = self._chunks[index]
        at = bisect_left(chunk.keys, key)
        return chunk.entries[at] if at < len(chunk.keys) and chunk.keys[at] == key else None

    def range(
        self,
        prefix: str = "",
        *,
        gt: str | None = None,
        gte: str | None = None,
        lt: str | None = None,
        lte: str | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[Entry]:
        """Entries whose key starts with `prefix` and keeps the bounds, in the order of keys."""
        low = max(self._place(prefix, False), self._place(gte or "", False))
        if gt is not None:
            low = max(low, self._place(gt, True))
        high = (len(self._chunks), 0) if not prefix else self._behind(prefix)
        if lt is not None:
            high = min(high, self._place(lt, False))
        if lte is not None:
            high = min(high, self._place(lte, True))
        found = self._backwards(low, high) if reverse else self._forwards(low, high)
        if limit is None:
            return found
        return (entry for entry, _ in zip(found, range(limit), strict=False))

    def _place(self, key: str, behind: bool) -> tuple[int, int]:
        """Of the first entry at or behind `key`."""
        index = max(0, bisect_right(self._firsts, key) - 1)
        if index >= len(self._chunks):
            return 0, 0
        find = bisect_right if behind else bisect_left
        at = find(self._chunks[index].keys, key)
        return (index + 1, 0) if at == len(self._chunks[index].keys) else (index, at)

    def _behind(self, prefix: str) -> tuple[int, int]:
        """Of the first entry behind all that start with `prefix`."""
        size = len(prefix)
        index = bisect_right(self._firsts, prefix, key=lambda key: key[:size]) - 1
        if index < 0:
            return 0, 0
        at = bisect_right(self._chunks[index].keys, prefix, key=lambda key: key[:size])
        return (index + 1, 0) if at == len(self._chunks[index].keys) else (index, at)

    def _forwards(self, low: tuple[int, int], high: tuple[int, int]) -> Iterator[Entry]:
        while low < high:
            index, at = low
            end = high[1] if index == high[0] else None
            yield from self._chunks[index].entries[at:end]
            low = (index + 1, 0)

    def _backwards(self, low: tuple[int, int], high: tuple[int, int]) -> Iterator[Entry]:
        while low < high:
            index, end = high if high[1] else (high[0] - 1, None)
            begin = low[1] if index == low[0] else 0
            yield from reversed(self._chunks[index].entries[begin:end])
            high = (index, 0)

    # -- changing --------------------------------------------------------------------------------------------

    def changed(self, changes: Mapping[str, Entry | None]) -> View:
        """The next version; None takes a key away."""
        if not changes:
            return self
        parts: dict[int, list[str]] = {}
        for key in sorted(changes):
            parts.setdefault(max(0, bisect_right(self._firsts, key) - 1), []).append(key)
        chunks, size = list(self._chunks), self.size
        for index in sorted(parts, reverse=True):
            old = chunks[index] if chunks else _Chunk((), ())
            entries = dict(zip(old.keys, old.entries, strict=True))
            for key in parts[index]:
                entry = changes[key]
                if entry is None:
                    entries.pop(key, None)
                else:
                    entries[key] = entry
            size += len(entries) - len(old.keys)
            made = _cut(entries, {*old.keys[:1], *(key for key in parts[index] if key in entries)})
            if index and made and not _begins(made[0].keys[0]):
                last = chunks[index - 1]
                made[0] = _Chunk(last.keys + made[0].keys, last.entries + made[0].entries)
                index -= 1
                chunks[index : index + 2] = made
            else:
                chunks[index : index + 1] = made
        return View(tuple(chunks), size)

    # -- comparing and proving -------------------------------------------------------------------------------

    def diff(self, older: View) -> Iterator[Difference]:
        """What differs from an older version, in the order of keys. Chunks that both share cost nothing."""
        shared = {id(chunk) for chunk in self._chunks} & {id(chunk) for chunk in older._chunks}
        mine = {e.key: e for chunk in self._chunks if id(chunk) not in shared for e in chunk.entries}
        theirs = {e.key: e for chunk in older._chunks if id(chunk) not in shared for e in chunk.entries}
        for key in sorted(mine.keys() | theirs.keys()):
            if mine.get(key) != theirs.get(key):
                yield Difference(key, theirs.get(key), mine.get(key))

    def digest(self) -> bytes:
        """32 bytes; the same wherever the contents are."""
        return _folded(self._tops()).root()

    def _tops(self) -> list[Piece]:
        return [Piece(index, 0, chunk.root()) for index, chunk in enumerate(self._chunks)]

    def prove(self, key: str) -> Proof | None:
        """None: there is no such key."""
        index = bisect_right(self._firsts, key) - 1
        if self.get(key) is None:
            return None
        chunk = self._chunks[index]
        place = bisect_left(chunk.keys, key)
        return Proof(place, _without(chunk.pieces(), place), index, _without(self._tops(), index))


def proven(proof: Proof, entry: Entry, digest: bytes) -> bool:
    """Whether `entry` is in the view that has this digest."""
    chunk = _completed(proof.inside, proof.place, leaf(_bytes(entry)))
    if chunk is None:
        return False
    whole = _completed(proof.outside, proof.chunk, chunk)
    return whole == digest


def _completed(pieces: tuple[Piece, ...], place: int, hash: bytes) -> bytes | None:
    if len(pieces) > 128:
        return None
    peaks = Peaks()
    whole = sorted((*pieces, Piece(place, 0, hash)), key=lambda piece: piece.start)
    return peaks.root() if fold(peaks, whole) else None


def _without(pieces: list[Piece], place: int) -> tuple[Piece, ...]:
    return (*cleared(pieces[:place], lambda _: False), *cleared(pieces[place + 1 :], lambda _: False))


def _folded(pieces: list[Piece]) -> Peaks:
    peaks = Peaks()
    fold(peaks, pieces)
    return peaks


def _bytes(entry: Entry) -> bytes:
    return _encode((entry.key, entry.value, entry.writer, entry.sequence))


def _begins(key: str) -> bool:
    return hashlib.blake2b(key.encode(), digest_size=1).digest()[0] < _ODDS


def _cut(entries: dict[str, Entry], doubtful: set[str]) -> list[_Chunk]:
    """Chunks of `entries`; only the keys `doubtful` can begin one."""
    keys = sorted(entries)
    cuts = [0, *(at for at, key in enumerate(keys) if at and key in doubtful and _begins(key)), len(keys)]
    parts = [tuple(keys[low:high]) for low, high in itertools.pairwise(cuts) if low < high]
    return [_Chunk(part, tuple(entries[key] for key in part)) for part in parts]
