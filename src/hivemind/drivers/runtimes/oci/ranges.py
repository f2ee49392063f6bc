"""Which of the node's user ids belong to which container: a range for each, none twice.

The whole is by default a part of the 32-bit numbers that no one else claims: above those of systemd's containers,
below its foreign ids and below the half where programs mistake numbers for negative ones. What /etc/subuid,
/etc/passwd and their like name in it all the same is left out; ids that only a directory service knows are not seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hivemind.drivers.runtimes.oci.idmap import SIZE, SPARE, Users
from hivemind.errors import Invalid, Unavailable

DEFAULT = "1879048192-2147352575"
OFF = "off"
STRIDE = SIZE + SPARE
_LARGEST = 2**32 - 2
_ACCOUNTS = (("/etc/subuid", 1), ("/etc/subgid", 1), ("/etc/passwd", 2), ("/etc/group", 2))

Span = tuple[int, int]
"""First and last."""


class Ranges:
    """`taken`: spans of others, in which no range lies. `start`: any number; where to look first, so that several
    nodes on one machine seldom give the same."""

    def __init__(self, whole: Span, taken: Iterable[Span] = (), start: int = 0) -> None:
        self._first, last = whole
        self._count = (last - self._first + 1) // STRIDE
        self._blocked = frozenset(slot for first, end in taken for slot in self._slots(first, min(end, last)))
        self._start = start
        self._given: dict[int, str] = {}
        self._of: dict[str, int] = {}

    def give(self, id: str) -> Users:
        """The range of that container, the same until it is taken back. Raises `Unavailable` when none is left."""
        slot = self._of.get(id)
        if slot is None:
            slot = self._free()
            self._given[slot], self._of[id] = id, slot
            self._start = slot + 1
        return Users(self._first + slot * STRIDE)

    def keep(self, id: str, users: Users) -> None:
        """What a container has from an earlier daemon, perhaps by another setting."""
        for slot in self._slots(users.first, users.first + STRIDE - 1):
            self._given.setdefault(slot, id)
            self._of.setdefault(id, slot)

    def take_back(self, id: str) -> None:
        if self._of.pop(id, None) is not None:
            self._given = {slot: owner for slot, owner in self._given.items() if owner != id}

    def _free(self) -> int:
        for offset in range(self._count):
            slot = (self._start + offset) % self._count
            if slot not in self._given and slot not in self._blocked:
                return slot
        raise Unavailable(
            f"all {self._count - len(self._blocked)} ranges of user ids for containers are in use",
            hint="give the daemon more with --container-users FIRST-LAST",
        )

    def _slots(self, first: int, last: int) -> range:
        """Those that have an id of that span."""
        low = max(first - self._first, 0) // STRIDE
        high = (last - self._first) // STRIDE
        return range(low, min(high, self._count - 1) + 1)


def parse(text: str) -> Span | None:
    """`FIRST-LAST`; None for `off`. Raises `Invalid`."""
    if text == OFF:
        return None
    first, dash, last = text.partition("-")
    if not (dash and first.isdigit() and last.isdigit()):
        raise Invalid(f"{text!r} is not a range of user ids", hint=f"write it like {DEFAULT}, or off")
    span = (int(first), int(last))
    if span[0] < SIZE or span[1] > _LARGEST or span[1] - span[0] + 1 < STRIDE:
        raise Invalid(
            f"the user ids {text} will not do for containers",
            hint=f"a container takes {STRIDE} of them, none below {SIZE}, none above {_LARGEST}",
        )
    return span


def claimed() -> list[Span]:
    """What this machine's files give to users, and to the containers of others."""
    found = []
    for path, column in _ACCOUNTS:
        try:
            rows = [line.split(":") for line in Path(path).read_text(errors="replace").splitlines()]
        except OSError:
            continue
        for row in rows:
            numbers = [int(text) for text in row[column : column + 2] if text.isdigit()]
            if column == 1 and len(numbers) == 2 and numbers[1]:
                found.append((numbers[0], numbers[0] + numbers[1] - 1))
            elif column == 2 and numbers:
                found.append((numbers[0], numbers[0]))
    return found
