"""What is to be passed on, the least told first, each statement only so often (SWIM, section 4.1)."""

from __future__ import annotations

from collections.abc import Iterable

from hivemind.protocols.swim import wire
from hivemind.security.statement import Statement

_SMALLEST = 70
"""No statement is shorter: 64 bytes of it are the signature."""


class _Item:
    __slots__ = ("size", "statement", "subject", "told")

    def __init__(self, subject: str, statement: Statement) -> None:
        self.subject = subject
        self.statement = statement
        self.size = wire.size(statement)
        self.told = 0


class News:
    """At most one statement for each subject and signer; what the subject itself says drives out all before."""

    def __init__(self) -> None:
        self._items: dict[str, dict[str, _Item]] = {}
        """By subject and signer."""
        self._told: list[dict[_Item, None]] = [{}]
        """By how often they were told, the newest last."""

    def __len__(self) -> int:
        return sum(map(len, self._items.values()))

    def __bool__(self) -> bool:
        return bool(self._items)

    def put(self, subject: str, statement: Statement) -> None:
        by = self._items.get(subject, {})
        outdated = list(by.values()) if statement.signer == subject else [by.get(statement.signer)]
        for item in outdated:
            if item is not None:
                self._drop(item)
        item = _Item(subject, statement)
        self._items.setdefault(subject, {})[statement.signer] = item
        self._told[0][item] = None

    def take(self, to: str, room: int, limit: int, first: Iterable[Statement] = ()) -> list[Statement]:
        """For `to`, which knows what it said itself: statements of at most `room` bytes. `first`, which count for
        nothing, then what was told least often, of that the newest. What was told `limit` times is forgotten."""
        chosen: list[Statement] = []
        for statement in first:
            if (taken := wire.size(statement)) <= room:
                chosen.append(statement)
                room -= taken
        for item in self._fitting(to, room, frozenset(chosen)):
            chosen.append(item.statement)
            self._count(item, limit)
        return chosen

    def _fitting(self, to: str, room: int, chosen: frozenset[Statement]) -> list[_Item]:
        fitting: list[_Item] = []
        for items in self._told:
            for item in reversed(items):
                if room < _SMALLEST:
                    return fitting
                if item.statement.signer != to and item.size <= room and item.statement not in chosen:
                    fitting.append(item)
                    room -= item.size
        return fitting

    def _count(self, item: _Item, limit: int) -> None:
        if item.told + 1 >= limit:
            self._drop(item)
            return
        del self._told[item.told][item]
        item.told += 1
        if item.told == len(self._told):
            self._told.append({})
        self._told[item.told][item] = None

    def _drop(self, item: _Item) -> None:
        del self._told[item.told][item]
        by = self._items[item.subject]
        del by[item.statement.signer]
        if not by:
            del self._items[item.subject]
