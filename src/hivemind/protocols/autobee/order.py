"""Which entry of a key counts.

Lamport's clock puts all entries of all writers in one order: later than everything its writer had seen, then by the
writer's key, then by its sequence. The order of two entries never changes, whatever arrives when, so nothing is ever
undone and applied again: an entry that comes late finds its place, and the view of a key is the last entry for it.

For almost every key there is one living entry, and the view holds it. Only for the others (several writers wrote
it, or it was deleted) each writer's newest entry is remembered here. A deletion may be forgotten once it is final:
every writer has promised (`entry.Ack`) to be past its clock, and no older entry is left that it hides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from hivemind.protocols.autobee.entry import Entry
from hivemind.protocols.autobee.view import View

_MODULUS = 1 << 128


class Tally:
    """How many entries of a writer live, and a digest of which: a sum, so that it follows every change at once."""

    __slots__ = ("_sum", "count")

    def __init__(self, sequences: Iterable[int] = ()) -> None:
        self.count = self._sum = 0
        for sequence in sequences:
            self.add(sequence)

    def add(self, sequence: int) -> None:
        self.count += 1
        self._sum = (self._sum + _hash(sequence)) % _MODULUS

    def remove(self, sequence: int) -> None:
        self.count -= 1
        self._sum = (self._sum - _hash(sequence)) % _MODULUS

    def digest(self) -> bytes:
        return self._sum.to_bytes(16, "big")


def _hash(sequence: int) -> int:
    return int.from_bytes(hashlib.blake2b(sequence.to_bytes(8, "big"), digest_size=16).digest(), "big")


def rank(entry: Entry) -> tuple[int, str, int]:
    return entry.clock, entry.writer, entry.sequence


class Order:
    def __init__(self) -> None:
        self.view = View()
        self._contested: dict[str, dict[str, Entry]] = {}
        """Key -> writer -> its newest entry, for all keys but those with one living entry."""
        self._tallies: dict[str, Tally] = {}

    def tally(self, writer: str) -> Tally:
        return self._tallies.setdefault(writer, Tally())

    def newest(self, writer: str) -> Iterator[Entry]:
        """Each key's newest entry of the writer that may still count, deletions too."""
        for entry in self.view:
            if entry.writer == writer and entry.key not in self._contested:
                yield entry
        for candidates in self._contested.values():
            if writer in candidates:
                yield candidates[writer]

    def newest_by_writer(self) -> dict[str, list[Entry]]:
        found: dict[str, list[Entry]] = {}
        for entry in self.view:
            if entry.key not in self._contested:
                found.setdefault(entry.writer, []).append(entry)
        for candidates in self._contested.values():
            for writer, entry in candidates.items():
                found.setdefault(writer, []).append(entry)
        return found

    # -- changing --------------------------------------------------------------------------------------------

    def apply(self, entries: Iterable[Entry], gone: Iterable[Entry] = ()) -> list[Entry]:
        """Takes the entries `gone` away (those that `newest` named), then adds `entries`, in any order. Returns what
        readers see now for each key that looks different to them."""
        pending: dict[str, Entry] = {}
        for entry in gone:
            candidates = self._candidates(entry.key, pending)
            if candidates.get(entry.writer) == entry:
                self._count(candidates.pop(entry.writer), -1)
                self._settle(entry, candidates, pending)
        for entry in entries:
            candidates = self._candidates(entry.key, pending)
            old = candidates.get(entry.writer)
            if old is None or old.sequence < entry.sequence:
                if old is not None:
                    self._count(old, -1)
                self._count(entry, 1)
                candidates[entry.writer] = entry
                self._settle(entry, candidates, pending)
        return self._shown(pending)

    def _candidates(self, key: str, pending: dict[str, Entry]) -> dict[str, Entry]:
        known = self._contested.get(key)
        if known is not None:
            return known
        entry = pending[key] if key in pending else self.view.get(key)
        return {entry.writer: entry} if entry is not None and entry.value is not None else {}

    def _count(self, entry: Entry, by: int) -> None:
        if entry.value is not None:
            tally = self.tally(entry.writer)
            (tally.add if by > 0 else tally.remove)(entry.sequence)

    def _settle(self, cause: Entry, candidates: dict[str, Entry], pending: dict[str, Entry]) -> None:
        key = cause.key
        if not candidates or (len(candidates) == 1 and next(iter(candidates.values())).value is not None):
            self._contested.pop(key, None)
        else:
            self._contested[key] = candidates
        winner = _winner(candidates)
        pending[key] = winner if winner is not None else replace(cause, value=None)

    def _shown(self, pending: dict[str, Entry]) -> list[Entry]:
        news: dict[str, Entry | None] = {}
        told: list[Entry] = []
        for key, entry in pending.items():
            shown = self.view.get(key)
            if shown == entry or (shown is None and entry.value is None):
                continue
            news[key] = entry if entry.value is not None else None
            told.append(entry)
        self.view = self.view.changed(news)
        return told

    # -- what need not be remembered -------------------------------------------------------------------------

    def beaten(self, writer: str) -> list[str]:
        """Keys of which the writer has a living entry that another one's counts before: it may take them back."""
        return sorted(
            key
            for key, candidates in self._contested.items()
            if writer in candidates
            and candidates[writer].value is not None
            and _winner(candidates) is not candidates[writer]
        )

    def forget(self, final: int) -> None:
        """Deletions with clocks up to `final` that hide nothing."""
        for key in [
            key for key, found in self._contested.items() if any(e.value is None for e in found.values())
        ]:
            candidates = self._contested[key]
            living = [rank(entry) for entry in candidates.values() if entry.value is not None]
            for writer, entry in list(candidates.items()):
                hides = not entry.withdrawn and any(other < rank(entry) for other in living)
                if entry.value is None and entry.clock <= final and not hides:
                    del candidates[writer]
            if not candidates or (len(candidates) == 1 and living):
                del self._contested[key]


def _winner(candidates: dict[str, Entry]) -> Entry | None:
    return max((entry for entry in candidates.values() if not entry.withdrawn), key=rank, default=None)
