"""The messages of the shared store, as they travel."""

from __future__ import annotations

import msgspec

from hivemind.protocols.autobee.entry import Number
from hivemind.protocols.autobee.log import LONGEST, Length, Piece
from hivemind.security.statement import Statement

LARGEST = 1 << 20
"""Bytes of a message."""
CHUNK = 1 << 18
"""Bytes of pieces after which a chunk is not made larger."""


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """How much of a writer's log one has."""

    writer: bytes
    fork: Number
    length: Length
    root: bytes
    """The first 8 bytes of its root."""


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """All that one has; said when a connection begins, and when a summary differs."""

    marks: tuple[Mark, ...]
    answer: bool = False
    """It answers one: it wants none back."""


class Summary(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """A digest of all marks and acknowledgements: anti-entropy for the price of one small message."""

    digest: bytes


class Chunk(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Part of a log, and what proves it: `before` (only when asked for) and `behind` are nodes for the rest of the
    log that `head` is about."""

    head: Statement
    pieces: tuple[Piece, ...]
    behind: tuple[Piece, ...] = ()
    before: tuple[Piece, ...] = ()


class Want(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Asks for a log from that length on. `proof`: with all before it as nodes."""

    writer: bytes
    fork: Number
    start: Length
    proof: bool = False


class Acked(msgspec.Struct, frozen=True, array_like=True, tag=5):
    ack: Statement


class Mend(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """To the owner of a log, or whoever passed its acknowledgement on: `held` is what I take for living of it
    (sequences, packed); tell me what does, and send what I lack."""

    writer: bytes
    fork: Number
    held: bytes


class Living(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """The sequences that an acknowledgement stands for; their digest proves them."""

    ack: Statement
    sequences: bytes


class Accuse(msgspec.Struct, frozen=True, array_like=True, tag=8):
    evidence: bytes


Message = Hello | Summary | Chunk | Want | Acked | Mend | Living | Accuse
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


def encode(message: Message) -> bytes:
    return _encode(message)


def decode(data: bytes) -> Message | None:
    """None: not a message."""
    if len(data) > LARGEST:
        return None
    try:
        message: Message = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return message


def pack(sequences: list[int]) -> bytes:
    """Ascending sequences as their distances."""
    made, last = bytearray(), 0
    for sequence in sequences:
        distance, last = sequence - last, sequence
        while distance > 0x7F:
            made.append(distance & 0x7F | 0x80)
            distance >>= 7
        made.append(distance)
    return bytes(made)


def unpack(data: bytes) -> list[int]:
    """Nothing, when it cannot be that."""
    made: list[int] = []
    last = distance = shift = 0
    for byte in data:
        distance |= (byte & 0x7F) << shift
        shift += 7
        if shift > 56:
            return []
        if not byte & 0x80:
            last += distance
            if last >= LONGEST:
                return []
            made.append(last)
            distance = shift = 0
    return made
