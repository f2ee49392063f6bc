"""How much an expression may cost. Whoever writes one runs it on every node, within the hive's own bookkeeping."""

from __future__ import annotations

LONGEST = 10_000
"""Characters of an expression or template."""
NESTING = 32
"""Brackets within brackets."""
DEPTH = 64
"""Of the tree of an expression, and of values."""
STEPS = 200_000
"""One for each operation and each member or 50 characters that are looked at or made: some tenths of a second, and at
most 10 MB."""
RECALLED = 1_000_000
"""The same for an expression that only names a value and computes nothing: what is there was paid for when it was
made, such as the outputs of a hundred thousand members of a fan-out."""
LONGEST_TEXT = 1_000_000
MOST_MEMBERS = 100_000
LARGEST = 2**63 - 1
"""Integers are of 64 bits."""


class Refused(Exception):
    """Why it cannot be understood or computed; who knows the place makes `Invalid` of it."""

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint


class Budget:
    """Steps that are left. Raises `Refused` when there are none."""

    __slots__ = ("left",)

    def __init__(self, steps: int = STEPS) -> None:
        self.left = steps

    def spend(self, steps: int = 1) -> None:
        self.left -= steps
        if self.left < 0:
            raise Refused(
                "it takes too many steps", f"an expression may take {STEPS:,}; do such work in a task"
            )

    def text(self, length: int) -> None:
        """Room for a text of that many characters."""
        if length > LONGEST_TEXT:
            raise Refused(f"a text of {length:,} characters is too long", f"the most is {LONGEST_TEXT:,}")
        self.spend(1 + length // 50)

    def members(self, count: int) -> None:
        """Room for a list or object of so many members."""
        if count > MOST_MEMBERS:
            raise Refused(f"{count:,} members are too many", f"the most is {MOST_MEMBERS:,}")
        self.spend(1 + count)
