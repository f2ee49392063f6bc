"""Frames: a kind, the number of a stream, and what they carry. A frame is one record of a channel."""

from __future__ import annotations

import struct
from enum import IntEnum
from functools import lru_cache

import msgspec

from hivemind.protocols.noise.cipher import Refused

HEADER = 5
FRAGMENT = 32_768
"""Bytes of a message that one frame carries at most: so long waits whoever is next."""
LONGEST_SERVICE = 32


class Kind(IntEnum):
    MESSAGE = 1
    """A fragment of a message; the first one begins with the service. The number: 1 if more follow, else 0."""
    ASK = 2
    """A call begins; carries the service."""
    OPEN = 3
    """A stream begins; carries the service."""
    ACCEPT = 4
    """Somebody serves that stream."""
    DATA = 5
    """A fragment, more follow."""
    LAST = 6
    """The last fragment of a message."""
    CREDIT = 7
    """So many more bytes may be sent."""
    FINISH = 8
    """No more messages from this side."""
    RESET = 9
    """The stream is broken; carries why."""
    PING = 10
    PONG = 11


_KINDS = {int(kind): kind for kind in Kind}
_header = struct.Struct(">BI")
assert _header.size == HEADER


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """Why a stream broke, as one of `hivemind.errors`."""

    code: str
    message: str
    hint: str = ""


_encoder = msgspec.msgpack.Encoder()
_failures = msgspec.msgpack.Decoder(Failure)
_LONGEST_REASON = 2_000


def encode(kind: Kind, number: int, payload: bytes = b"") -> bytes:
    return _header.pack(kind, number) + payload


def encode_message(service: str, message: bytes) -> bytes:
    """The frame of a message that has only one. Of a longer one what follows the header is cut into fragments."""
    return _begin_message(service) + message


def decode(frame: bytes) -> tuple[Kind, int, bytes]:
    """Raises `Refused`."""
    if not HEADER <= len(frame) <= HEADER + FRAGMENT + LONGEST_SERVICE + 1:
        raise Refused("a frame is too short or too long")
    byte, number = _header.unpack_from(frame)
    kind = _KINDS.get(byte)
    if kind is None:
        raise Refused(f"there is no frame of kind {byte}")
    return kind, number, frame[HEADER:]


def encode_failure(failure: Failure) -> bytes:
    cut = Failure(failure.code[:64], failure.message[:_LONGEST_REASON], failure.hint[:_LONGEST_REASON])
    return _encoder.encode(cut)


def decode_failure(payload: bytes) -> Failure:
    try:
        return _failures.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Refused("a reason cannot be read") from None


def encode_service(service: str) -> bytes:
    """With its length before it."""
    encoded = service.encode()
    assert 0 < len(encoded) <= LONGEST_SERVICE
    return bytes([len(encoded)]) + encoded


def decode_service(payload: bytes) -> tuple[str, bytes]:
    """The service, and what follows it."""
    length = payload[0] if payload else 0
    if not 0 < length <= LONGEST_SERVICE or len(payload) < 1 + length:
        raise Refused("a service has no name")
    try:
        return payload[1 : 1 + length].decode(), payload[1 + length :]
    except UnicodeDecodeError:
        raise Refused("a service has no name") from None


@lru_cache(64)
def _begin_message(service: str) -> bytes:
    return encode(Kind.MESSAGE, 0, encode_service(service))
