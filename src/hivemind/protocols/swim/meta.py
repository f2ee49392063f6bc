"""What every member says of itself besides its addresses, in the `meta` of its `Alive`."""

from __future__ import annotations

import msgspec

from hivemind.model.hive import PROTOCOL, NodeRole


class Meta(msgspec.Struct, frozen=True, array_like=True):
    """Newer versions may append fields; older ones ignore them."""

    protocol: int = PROTOCOL
    """The newest version of the hive's protocols that it understands."""
    role: NodeRole = "member"
    coordinate: bytes = b""
    """Where it was a while ago, see `protocols.vivaldi`: for those that never ping it."""


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Meta] = msgspec.msgpack.Decoder(Meta)


def encode(meta: Meta) -> bytes:
    return _encoder.encode(meta)


def decode(encoded: bytes) -> Meta | None:
    try:
        return _decoder.decode(encoded)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
