"""Whether a history of concurrent operations on a key-value store could have happened one after the other.

Each operation takes effect at one moment between its call and its answer (Herlihy and Wing, 1990). The search is
that of Wing and Gong with the memory of Lowe: a set of operations that are done, together with the value that they
left, is tried once. Keys are independent of each other, so each is searched alone (the property is local).

An operation that was never answered may have taken effect at any moment after its call, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

FOREVER = 2**62
"""The time of an answer that never came."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What a client did. `called`, `answered`: when; times of different clients are by one clock."""

    client: str
    key: str
    kind: Literal["get", "put", "cas"]
    called: int
    answered: int = FOREVER
    value: str | None = None
    """What was put, or takes the place of `expected`."""
    expected: str | None = None
    result: str | bool | None = None
    """What was read; whether the exchange was made. Without a meaning while there is no answer."""


def linearizable(history: Iterable[Operation]) -> bool:
    return first_contradiction(history) is None


def first_contradiction(history: Iterable[Operation]) -> str | None:
    """The first key, in their order, whose operations could not have happened one after the other."""
    by_key: dict[str, list[Operation]] = {}
    for operation in history:
        by_key.setdefault(operation.key, []).append(operation)
    return next((key for key in sorted(by_key) if not _possible(by_key[key])), None)


def _possible(operations: list[Operation]) -> bool:
    """Depth first: which operation could be next, and what would the value be then?"""
    operations = sorted(operations, key=lambda operation: (operation.called, operation.answered))
    every = (1 << len(operations)) - 1
    answered = sum(1 << i for i, operation in enumerate(operations) if operation.answered != FOREVER)
    seen: set[tuple[int, str | None]] = set()
    stack: list[tuple[int, str | None]] = [(0, None)]
    while stack:
        done, value = stack.pop()
        if done & answered == answered or done == every:
            return True
        for index in _candidates(operations, done):
            fits, after = _step(value, operations[index])
            state = (done | 1 << index, after)
            if fits and state not in seen:
                seen.add(state)
                stack.append(state)
    return False


def _candidates(operations: list[Operation], done: int) -> list[int]:
    """Those that were called before any other one that is not done yet was answered."""
    left = [index for index in range(len(operations)) if not done >> index & 1]
    first_answer = min(operations[index].answered for index in left)
    return [index for index in left if operations[index].called <= first_answer]


def _step(value: str | None, operation: Operation) -> tuple[bool, str | None]:
    """Whether its answer is the one that it gets where the key has that value, and the value after it."""
    open_end = operation.answered == FOREVER
    if operation.kind == "get":
        return open_end or operation.result == value, value
    if operation.kind == "put":
        return True, operation.value
    exchanged = value == operation.expected
    return open_end or operation.result == exchanged, operation.value if exchanged else value
