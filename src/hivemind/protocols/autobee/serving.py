"""Answers out of a kept log: a part of it, or some of its entries, with what proves them."""

from __future__ import annotations

from collections.abc import Sequence

from hivemind.protocols.autobee.log import Piece, cleared, cost, split
from hivemind.protocols.autobee.steps import Restored, Serve
from hivemind.protocols.autobee.wire import CHUNK, Chunk


def answer(kept: Restored, ask: Serve) -> Chunk | None:
    """None: there is nothing of it here, or it is cleared in a way that does not part there."""
    if kept.head is None or not kept.pieces:
        return None
    if ask.sequences:
        return _picked(kept, ask)
    parted = split(kept.pieces, ask.start)
    if parted is None and ask.proof:
        return None
    before, rest = parted or ([], kept.pieces)
    if not rest and not ask.proof:
        return None
    pieces: list[Piece] = []
    size = 0
    for piece in rest:
        size += cost((piece,))
        if pieces and size > CHUNK:
            break
        pieces.append(piece)
    if ask.proof:
        return Chunk(kept.head, (), _nodes([*rest, *kept.behind]), _nodes(before))
    return Chunk(kept.head, tuple(pieces), _nodes([*rest[len(pieces) :], *kept.behind]))


def _picked(kept: Restored, ask: Serve) -> Chunk | None:
    wanted, size = set[int](), 0
    chosen = frozenset(ask.sequences)
    for piece in kept.pieces:
        if piece.start + 1 in chosen and piece.level < 0 and size < CHUNK:
            wanted.add(piece.start + 1)
            size += cost((piece,))
    assert kept.head is not None
    return (
        Chunk(kept.head, tuple(cleared([*kept.pieces, *kept.behind], wanted.__contains__)))
        if wanted
        else None
    )


def _nodes(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    return tuple(cleared(pieces, lambda _: False))
