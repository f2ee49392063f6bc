"""What goes from member to member, in MessagePack: arrays, whose first element says the kind.

Pings, answers and gossip fit into a datagram and carry statements as far as there is room. The channel proves to the
receiver who the sender is, so nothing but the statements is signed here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import msgspec

from hivemind.protocols.swim.events import Status
from hivemind.protocols.swim.statements import Incarnation, Node
from hivemind.security.statement import Statement

MAX_MEMBERS = 4_096
MAX_MESSAGE = 512 * 1024
MAX_BODY = 640
"""An `Alive` with four long addresses and all of its meta."""
BATCH = 48 * 1024
"""Bytes of statements in one message through the channel."""

Sequence62 = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]
Statements = Annotated[tuple[Statement, ...], msgspec.Meta(max_length=512)]


class Ping(msgspec.Struct, frozen=True, array_like=True, tag=1):
    sequence: Sequence62
    subject: Node
    """For whom it is meant: nobody else at that address answers."""
    channel: bool = False
    """The answer is wanted through the channel, as this one came."""
    asker: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """Set by a helper: for whom it pings, and what number that one gave."""
    asked: Sequence62 = 0
    statements: Statements = ()


class Ack(msgspec.Struct, frozen=True, array_like=True, tag=2):
    sequence: Sequence62
    coordinate: Annotated[bytes, msgspec.Meta(max_length=64)] = b""
    proof: Statement | None = None
    """An `Answer`, when a helper pinged."""
    statements: Statements = ()


class PingRequest(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """To a helper, which returns a `Vouch`, or a `Nack` in good time: that tells the asker that it is not itself
    that is cut off (Lifeguard)."""

    sequence: Sequence62
    subject: Node
    statements: Statements = ()


class Nack(msgspec.Struct, frozen=True, array_like=True, tag=4):
    sequence: Sequence62
    statements: Statements = ()


class Vouch(msgspec.Struct, frozen=True, array_like=True, tag=5):
    sequence: Sequence62
    proof: Statement
    statements: Statements = ()


class Gossip(msgspec.Struct, frozen=True, array_like=True, tag=6):
    statements: Statements = ()


class Known(msgspec.Struct, frozen=True, array_like=True):
    node: Node
    incarnation: Incarnation
    status: Status


class Summary(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """All that the sender knows, without the statements. Who gets it returns those that are newer, and unless it is
    `final` a summary of its own."""

    known: Annotated[tuple[Known, ...], msgspec.Meta(max_length=MAX_MEMBERS)]
    final: bool = False


Small = Ping | Ack | PingRequest | Nack | Vouch | Gossip
Message = Small | Summary

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
_LONGER_COUNT = 2
"""More than 15 statements take two bytes more for their number."""


def encode(message: Message) -> bytes:
    return _encoder.encode(message)


def decode(message: bytes) -> Message | None:
    """None for what is no message, or beyond the limits."""
    if len(message) > MAX_MESSAGE:
        return None
    try:
        read = _decoder.decode(message)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return None if any(len(each.body) > MAX_BODY for each in _carried(read)) else read


def size(statement: Statement) -> int:
    """Bytes that it takes in a message."""
    return len(_encoder.encode(statement))


def fill(message: Small, mtu: int, choose: Callable[[int], Sequence[Statement]]) -> bytes:
    """`message` with the statements that `choose(room)` gives for the bytes that are left."""
    room = mtu - len(_encoder.encode(message)) - _LONGER_COUNT
    return _encoder.encode(msgspec.structs.replace(message, statements=tuple(choose(room))))


def batches(statements: Sequence[Statement]) -> list[bytes]:
    """Gossip for the channel."""
    made: list[bytes] = []
    batch: list[Statement] = []
    room = BATCH
    for statement in statements:
        taken = size(statement)
        if batch and taken > room:
            made.append(encode(Gossip(tuple(batch))))
            batch, room = [], BATCH
        batch.append(statement)
        room -= taken
    if batch:
        made.append(encode(Gossip(tuple(batch))))
    return made


def _carried(message: Message) -> tuple[Statement, ...]:
    if isinstance(message, Summary):
        return ()
    proof = getattr(message, "proof", None)
    return message.statements if proof is None else (*message.statements, proof)
