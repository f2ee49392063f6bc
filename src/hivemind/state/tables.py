"""The tables of state: records by key, with a change log, undo and the incremental digest.

Nobody writes a record but through `put` and `remove`, so the indexes and the digest can never be forgotten.
Iteration is always in key order: the order in which records came must not matter to any node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from hivemind.model.base import decode, encode
from hivemind.state.partition import PartitionTree

R = TypeVar("R", bound=msgspec.Struct)


class Change(msgspec.Struct, frozen=True):
    """One record before and after; None where there was or is none."""

    table: str
    key: str
    old: Any
    new: Any


def record_key(table: str, key: str) -> bytes:
    """Under which the digest knows a record."""
    return f"{table}\0{key}".encode()


class Table(Mapping[str, R], Generic[R]):
    """A read-only view for everyone but `Tables`; iterates in key order."""

    def __init__(self, name: str, type: type[R]) -> None:
        self.name = name
        self.type = type
        self._rows: dict[str, R] = {}

    def __getitem__(self, key: str) -> R:
        return self._rows[key]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._rows))

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: object) -> bool:
        return key in self._rows


class Tables:
    """Several tables that change together. `on_change` keeps the indexes of their owner."""

    def __init__(self, tables: list[Table[Any]], on_change: Callable[[Change], None]) -> None:
        self._tables = {table.name: table for table in tables}
        self._on_change = on_change
        self._tree = PartitionTree()
        self._unhashed: set[tuple[str, str]] = set()
        self.log: list[Change] = []
        """Every change since it was last cleared, in order."""

    def put(self, table: Table[R], key: str, record: R) -> None:
        self._write(table, key, record)

    def remove(self, table: Table[R], key: str) -> None:
        self._write(table, key, None)

    def _write(self, table: Table[Any], key: str, record: Any) -> None:
        old = table._rows.get(key)
        if old == record:
            return
        change = Change(table.name, key, old, record)
        self._store(change)
        self.log.append(change)

    def _store(self, change: Change) -> None:
        rows = self._tables[change.table]._rows
        if change.new is None:
            rows.pop(change.key, None)
        else:
            rows[change.key] = change.new
        self._unhashed.add((change.table, change.key))
        self._on_change(change)

    def undo(self, mark: int) -> None:
        """Takes back every change after the first `mark` of the log."""
        while len(self.log) > mark:
            done = self.log.pop()
            self._store(Change(done.table, done.key, done.new, done.old))

    def digest(self) -> bytes:
        for name, key in self._unhashed:
            record = self._tables[name]._rows.get(key)
            self._tree.set(record_key(name, key), None if record is None else encode(record))
        self._unhashed.clear()
        return self._tree.root()

    def hashes(self) -> bytes:
        """Of all partitions of the digest's tree."""
        self.digest()
        return self._tree.hashes()

    def copies(self) -> dict[str, dict[str, Any]]:
        """All records as they are now; they are shared, for they never change."""
        return {name: dict(table._rows) for name, table in self._tables.items()}

    def load(self, dumped: dict[str, dict[str, msgspec.Raw]]) -> None:
        for name, rows in dumped.items():
            table = self._tables[name]
            for key, raw in rows.items():
                self._store(Change(name, key, None, decode(bytes(raw), table.type)))

    def take(self, other: Tables) -> None:
        """Has the records of the other from now on; the log says which ones differ. Each table stays the object
        that it is. The other is used up."""
        self.log[:] = self._differences(other)
        for name, table in self._tables.items():
            table._rows = other._tables[name]._rows
        self._tree, self._unhashed = other._tree, other._unhashed

    def _differences(self, other: Tables) -> Iterator[Change]:
        for name, table in self._tables.items():
            old, new = table._rows, other._tables[name]._rows
            for key in sorted(old.keys() | new.keys()):
                if old.get(key) != new.get(key):
                    yield Change(name, key, old.get(key), new.get(key))

    def copy_to(self, other: Tables) -> None:
        """Records are frozen, so a copy shares them."""
        for name, table in self._tables.items():
            for key in table:
                other._store(Change(name, key, None, table[key]))
