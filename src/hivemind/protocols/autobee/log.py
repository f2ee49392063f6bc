"""One log as pieces: bodies that are there, and nodes of the tree for what is not.

Every part of a log that is stored, sent or proven is such a list, in order and without a gap. Taking bodies out of
it never changes its root, so whoever has a cleared log can still prove all of it to others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated

import msgspec

from hivemind.protocols.autobee.tree import Peaks, leaf, parent

BODY = -1
_HIGHEST = 52
LONGEST = 1 << _HIGHEST + 1
Length = Annotated[int, msgspec.Meta(ge=0, lt=LONGEST)]
"""Of a log, in entries: what is beyond cannot be computed with, or stored, by everyone."""
_COST = 48
"""Bytes that a piece costs beside its data, about."""


class Piece(msgspec.Struct, frozen=True, array_like=True):
    start: Length
    """Leaves before it: the entry's sequence less one."""
    level: Annotated[int, msgspec.Meta(ge=BODY, le=_HIGHEST)]
    """`BODY`, or the level of a node."""
    data: bytes
    """The body, or the node's hash."""

    @property
    def end(self) -> int:
        return self.start + (1 if self.level == BODY else 1 << self.level)


def fold(peaks: Peaks, pieces: Iterable[Piece]) -> bool:
    """Appends the pieces to `peaks`; False when they do not continue it without a gap."""
    for piece in pieces:
        if piece.start != peaks.length or not BODY <= piece.level <= _HIGHEST:
            return False
        if piece.level == BODY:
            peaks.append(0, leaf(piece.data))
        elif len(piece.data) != 32 or piece.start & ((1 << piece.level) - 1):
            return False
        else:
            peaks.append(piece.level, piece.data)
    return True


def cost(pieces: Iterable[Piece]) -> int:
    return sum(len(piece.data) + _COST for piece in pieces)


def cleared(pieces: Iterable[Piece], keep: Callable[[int], bool]) -> list[Piece]:
    """The same log with only those bodies whose sequence shall be kept, and as few nodes as possible."""
    made: list[Piece] = []
    for piece in pieces:
        if piece.level == BODY:
            if keep(piece.start + 1):
                made.append(piece)
                continue
            piece = Piece(piece.start, 0, leaf(piece.data))
        while made and _siblings(made[-1], piece):
            left = made.pop()
            piece = Piece(left.start, left.level + 1, parent(left.data, piece.data))
        made.append(piece)
    return made


def _siblings(left: Piece, right: Piece) -> bool:
    return left.level == right.level != BODY and not left.start & ((1 << left.level + 1) - 1)


def split(pieces: Sequence[Piece], at: int) -> tuple[list[Piece], list[Piece]] | None:
    """What is before that many leaves, and what is behind. None: one node stands over both."""
    before = [piece for piece in pieces if piece.end <= at]
    behind = [piece for piece in pieces if piece.start >= at]
    return (before, behind) if len(before) + len(behind) == len(pieces) else None


def refined(stored: Sequence[Piece], proof: Sequence[Piece]) -> list[Piece]:
    """`stored` with the bodies that `proof`, a list for at least the same leaves and the same root, has beside."""
    made: list[Piece] = []
    finer = iter(proof)
    piece = next(finer, None)
    for old in stored:
        inside: list[Piece] = []
        while piece is not None and piece.start < old.end:
            if piece.start >= old.start and piece.end <= old.end:
                inside.append(piece)
            piece = next(finer, None)
        whole = sum(each.end - each.start for each in inside) == old.end - old.start
        made += inside if old.level != BODY and whole else [old]
    return made
