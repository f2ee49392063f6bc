"""What is to be passed on, the least told first, each statement only so often (SWIM, section 4.1)."""

from __future__ import annotations

from collections.abc import Iterable

from hivemind.protocols.swim import wire
from hivemind.security.statement import Statement


class _Item:
    __slots__ = ("order", "size", "statement", "told")

    def __init__(self, statement: Statement, order: int) -> None:
        self.statement = statement
        self.size = wire.size(statement)
        self.told = 0
        self.order = order


class News:
    """At most one statement for each subject and signer; what the subject itself says drives out all before."""

    def __init__(self) -> None:
        self._items: dict[str, dict[str, _Item]] = {}
        self._order = 0

    def __len__(self) -> int:
        return sum(map(len, self._items.values()))

    def __bool__(self) -> bool:
        return bool(self._items)

    def put(self, subject: str, statement: Statement) -> None:
        self._order += 1
        if statement.signer == subject:
            self._items.pop(subject, None)
        self._items.setdefault(subject, {})[statement.signer] = _Item(statement, -self._order)

    def take(self, to: str, room: int, limit: int, first: Iterable[Statement] = ()) -> list[Statement]:
        """For `to`, which knows what it said itself: statements of at most `room` bytes. `first`, which count for
        nothing, then what was told least often, of that the newest. What was told `limit` times is forgotten."""
        chosen: list[Statement] = []
        for statement in first:
            if (taken := wire.size(statement)) <= room:
                chosen.append(statement)
                room -= taken
        held = {(each.signer, each.body) for each in chosen}
        items = [
            (item.told, item.order, subject, signer, item)
            for subject, by in self._items.items()
            for signer, item in by.items()
        ]
        for _, _, subject, signer, item in sorted(items, key=lambda each: each[:2]):
            if signer == to or item.size > room or (item.statement.signer, item.statement.body) in held:
                continue
            chosen.append(item.statement)
            room -= item.size
            item.told += 1
            if item.told >= limit:
                self._drop(subject, signer)
        return chosen

    def _drop(self, subject: str, signer: str) -> None:
        by = self._items[subject]
        del by[signer]
        if not by:
            del self._items[subject]
