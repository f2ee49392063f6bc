"""What a new node and its sponsor say to each other, over a channel that only holders of the discovery secret open.

`Knock` asks what hive this is; `Ask` brings the proofs and is answered once the hive has agreed; `Fetch` is answered
with pieces of what the new node needs. All are MessagePack, one tagged union.
"""

from __future__ import annotations

import msgspec

from hivemind.model.hive import NodeRole
from hivemind.transport.contract import Address

SERVICE = "join"


class Ask(msgspec.Struct, frozen=True, array_like=True, tag="ask"):
    """All that `JoinHive` wants, and the names that must not clash with the hive's."""

    hive: str
    node: str
    name: str
    role: NodeRole
    administrator: str
    """Public key of root on that machine; it becomes an administrator of the hive with a member."""
    token: str
    """Public key of the token."""
    proof: bytes
    consent: bytes
    protocol: int
    version: str
    addresses: tuple[Address, ...]
    own: tuple[str, ...] = ()
    """What the node has agreed alone and wants to bring along, as `app default/web`."""


class Admitted(msgspec.Struct, frozen=True, array_like=True, tag="admitted"):
    """The hive has agreed. What follows in the stream: the snapshot, in pieces, until the stream's end."""

    hive: str
    name: str
    vault: bytes
    """The key that opens the hive's secrets; empty for a witness."""
    peers: dict[str, tuple[Address, ...]]
    size: int
    """Bytes of the snapshot."""


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    code: str
    message: str
    hint: str = ""


Word = Ask | Admitted | Refused
_decoder = msgspec.msgpack.Decoder(Word)


def encode(word: Word) -> bytes:
    return msgspec.msgpack.encode(word)


def decode(data: bytes) -> Word:
    """Raises `msgspec.DecodeError`."""
    word: Word = _decoder.decode(data)
    return word


def covered(hive: str, node: str, administrator: str) -> bytes:
    """What the token's key and the node's key both sign."""
    fields = (b"hivemind/join/1", hive.encode(), node.encode(), administrator.encode())
    return b"".join(len(field).to_bytes(8, "big") + field for field in fields)
