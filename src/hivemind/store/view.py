"""The sorted view: the latest live entry of each key, in memory."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator

from hivemind.store.contract import Entry


class View:
    """Keys in one sorted list beside a dict: 50,000 keys cost a few microseconds a change, and no tree."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._keys: list[str] = []

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def load(self, entries: dict[str, Entry]) -> None:
        """Replaces everything. All entries are live."""
        self._entries = entries
        self._keys = sorted(entries)

    def set(self, entry: Entry) -> bool:
        """True if an older entry of the key went out of date by it."""
        known = entry.key in self._entries
        if entry.value is None:
            if known:
                del self._entries[entry.key]
                del self._keys[bisect_left(self._keys, entry.key)]
            return known
        if not known:
            insort(self._keys, entry.key)
        self._entries[entry.key] = entry
        return known

    def range(self, prefix: str, after: str, limit: int | None, reverse: bool) -> Iterator[Entry]:
        """As it is now; later changes do not disturb the iteration. In reverse, `after` bounds from above."""
        size = len(prefix)
        low = bisect_left(self._keys, prefix)
        high = bisect_right(self._keys, prefix, lo=low, key=lambda key: key[:size])
        if after and reverse:
            high = min(high, bisect_left(self._keys, after))
        elif after:
            low = max(low, bisect_right(self._keys, after))
        if limit is not None:
            low, high = (max(low, high - limit), high) if reverse else (low, min(high, low + limit))
        keys = self._keys[low:high] if low < high else []
        return iter([self._entries[key] for key in (reversed(keys) if reverse else keys)])
