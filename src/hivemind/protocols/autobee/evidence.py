"""A writer that said two things at one place: proven by its own two signatures, to anyone, at any time."""

from __future__ import annotations

import msgspec

from hivemind.protocols.autobee.entry import Head, Notary, read
from hivemind.protocols.autobee.log import BODY, Piece, fold
from hivemind.protocols.autobee.tree import Peaks
from hivemind.security.statement import Statement

_MOST_NODES = 256


class Fork(msgspec.Struct, frozen=True, array_like=True):
    """Two heads of one writer and one fork number. The log of the `longer` one, as nodes only, parted where the
    `shorter` one ends: what comes before should have the root of that, and has not."""

    shorter: Statement
    longer: Statement
    before: tuple[Piece, ...] = ()
    behind: tuple[Piece, ...] = ()
    """Both empty when the heads have the same length: then the roots differ in plain sight."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Fork).decode


def encode_evidence(fork: Fork) -> bytes:
    return _encode(fork)


def convicted(evidence: bytes, notary: Notary) -> str:
    """The writer that this proves a liar, in hex; empty when it proves nothing."""
    try:
        fork = _decode(evidence)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    return fork.shorter.signer if _proves(fork, notary) else ""


def _proves(fork: Fork, notary: Notary) -> bool:
    first, second = read(fork.shorter), read(fork.longer)
    if not isinstance(first, Head) or not isinstance(second, Head):
        return False
    if fork.shorter.signer != fork.longer.signer or first.fork != second.fork:
        return False
    if not _differ(first, second, fork):
        return False
    return notary.genuine(fork.shorter) and notary.genuine(fork.longer)


def _differ(first: Head, second: Head, fork: Fork) -> bool:
    if first.length == second.length:
        return first.root != second.root
    pieces = (*fork.before, *fork.behind)
    if len(pieces) > _MOST_NODES or any(piece.level == BODY for piece in pieces):
        return False
    peaks = Peaks()
    if not fold(peaks, fork.before) or peaks.length != first.length or peaks.root() == first.root:
        return False
    return fold(peaks, fork.behind) and peaks.length == second.length and peaks.root() == second.root
