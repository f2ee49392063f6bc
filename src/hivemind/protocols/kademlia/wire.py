"""What goes from node to node, in MessagePack: arrays, whose first element says the kind. A question has a number that
cannot be guessed, and its answer the same; only who was asked, at the address where it was asked, may answer.

Each tells the other at which address it sees it, and names its own id only if it carries for others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec

from hivemind.protocols.kademlia.ids import Address, usable

LARGEST = 1_200
MAX_VALUE = 800
MAX_CLOSER = 20
MAX_RECORDS = 20
MAX_ADDRESSES = 4
MAX_RELAYS = 3

Number = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]
Stamp = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]
Key = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Id = Annotated[bytes, msgspec.Meta(max_length=32)]
Token = Annotated[bytes, msgspec.Meta(max_length=16)]
Signature = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
Value = Annotated[bytes, msgspec.Meta(max_length=MAX_VALUE)]
Salt = Annotated[bytes, msgspec.Meta(max_length=32)]
Place = tuple[Annotated[str, msgspec.Meta(max_length=45)], Annotated[int, msgspec.Meta(gt=0, lt=2**16)]]


class Ping(msgspec.Struct, frozen=True, array_like=True, tag=1):
    pass


class Find(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Nodes close to the target, and who is announced under it."""

    target: Key
    peers: bool = False


class FindValue(msgspec.Struct, frozen=True, array_like=True, tag=3):
    target: Key


class Announce(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """`signature`: see `signing.announced`."""

    target: Key
    token: Token
    peer: Annotated[bytes, msgspec.Meta(max_length=256)]
    """A `Peer`, as it was signed."""
    signature: Signature


class Unannounce(msgspec.Struct, frozen=True, array_like=True, tag=5):
    target: Key
    token: Token
    stamp: Stamp
    signature: Signature


class Refresh(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """Keeps an announcement: what hashes to what it promised. Nothing needs to be signed or verified."""

    target: Key
    token: Token
    preimage: Key


class Put(msgspec.Struct, frozen=True, array_like=True, tag=7):
    token: Token
    value: Value


class PutMutable(msgspec.Struct, frozen=True, array_like=True, tag=8):
    token: Token
    salt: Salt
    sequence: Stamp
    value: Value
    signature: Signature


class Down(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """A node that you named does not answer. Nothing is answered."""

    address: Place


class Bring(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """To a third node: that node shall send to here, and be told where here is."""

    node: Key


class Knock(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """From a third node: `node` is at that address, and sends to you from there: send to it, too."""

    node: Key
    address: Place


class Peer(msgspec.Struct, frozen=True, array_like=True):
    """What an announcement says."""

    stamp: Stamp
    """By the clock of its node, in microseconds since 1970; a later one replaces it."""
    addresses: Annotated[tuple[Place, ...], msgspec.Meta(max_length=MAX_ADDRESSES)]
    relays: Annotated[tuple[Place, ...], msgspec.Meta(max_length=MAX_RELAYS)] = ()
    chain: Id = b""
    """The end of a chain of hashes: see `Refresh`."""


class Record(msgspec.Struct, frozen=True, array_like=True):
    """An announcement as it is handed out: whoever gets it verifies it for the node that hands it out."""

    signer: Key
    token: Token
    """The digest of the one that it came with."""
    peer: Annotated[bytes, msgspec.Meta(max_length=256)]
    signature: Signature


class Stored(msgspec.Struct, frozen=True, array_like=True):
    """A value; unsigned when its key is its hash."""

    value: Value
    sequence: Stamp = 0
    signer: Id = b""
    salt: Salt = b""
    signature: Annotated[bytes, msgspec.Meta(max_length=64)] = b""


Ask = Ping | Find | FindValue | Announce | Unannounce | Refresh | Put | PutMutable | Down | Bring | Knock


class Question(msgspec.Struct, frozen=True, array_like=True, tag=1):
    number: Number
    to: Place
    id: Id
    ask: Ask


class Answer(msgspec.Struct, frozen=True, array_like=True, tag=2):
    number: Number
    to: Place
    id: Id
    refusal: Annotated[str, msgspec.Meta(max_length=32)] = ""
    token: Token = b""
    closer: Annotated[tuple[Place, ...], msgspec.Meta(max_length=MAX_CLOSER)] = ()
    records: Annotated[tuple[Record, ...], msgspec.Meta(max_length=MAX_RECORDS)] = ()
    value: Stored | None = None


Message = Question | Answer
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
_peers: msgspec.msgpack.Decoder[Peer] = msgspec.msgpack.Decoder(Peer)
_LONGER_COUNT = 2
"""More than 15 elements take two bytes more for their number."""


def encode(message: Message) -> bytes:
    return _encoder.encode(message)


def decode(message: bytes) -> Message | None:
    """None for what is no message, or beyond the limits."""
    if len(message) > LARGEST:
        return None
    try:
        return _decoder.decode(message)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def encode_peer(peer: Peer) -> bytes:
    return _encoder.encode(peer)


def decode_peer(data: bytes) -> Peer | None:
    """None as well when it names an address at which nobody can be."""
    try:
        peer = _peers.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return peer if all(map(usable, (*peer.addresses, *peer.relays))) else None


def fitted(answer: Answer, closer: Sequence[Address], records: Sequence[Record]) -> bytes:
    """With as many of both as there is room for: the closest first, then records."""
    room = LARGEST - len(_encoder.encode(answer)) - 2 * _LONGER_COUNT
    near: list[Address] = []
    for address in closer[:MAX_CLOSER]:
        room -= len(_encoder.encode(address))
        if room < 0:
            break
        near.append(address)
    told: list[Record] = []
    for record in records[:MAX_RECORDS]:
        room -= len(_encoder.encode(record))
        if room < 0:
            break
        told.append(record)
    return _encoder.encode(msgspec.structs.replace(answer, closer=tuple(near), records=tuple(told)))
