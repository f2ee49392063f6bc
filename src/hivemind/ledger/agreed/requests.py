"""Operations as PBFT orders them: a request whose body is the signed envelope."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from hivemind.errors import HivemindError
from hivemind.ledger.engine import checked, key_of
from hivemind.model.base import UNREADABLE, encode
from hivemind.protocols.pbft import limits
from hivemind.protocols.pbft.wire import Request
from hivemind.security.envelope import Envelope
from hivemind.state.operations import Operation, decode_operation
from hivemind.state.partition import hash32
from hivemind.state.state import Outcome, Signed

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Envelope)
_FRAME = 1024
"""Bytes of a request beside the operation: keys, a nonce, a signature."""
LARGEST = limits.REQUEST_SIZE - _FRAME
Held = tuple[Envelope, Operation]
"""What a request holds."""


def request_of(envelope: Envelope, client: str) -> Request:
    return Request(key_of(envelope), client, _encoder.encode(envelope))


def envelope_of(request: Request) -> Envelope:
    """Raises `msgspec.DecodeError`."""
    return _decoder.decode(request.body)


def read(request: Request) -> Held:
    """Of a request that was found valid."""
    envelope = envelope_of(request)
    return envelope, decode_operation(envelope.payload)


def valid(request: Request, hive: str, largest: int) -> Held | None:
    """What it holds; None: it is not valid. Every node says the same: it depends on the request alone."""
    try:
        envelope = envelope_of(request)
        operation = checked(envelope, hive, largest)
    except (*UNREADABLE, ValueError, HivemindError):
        return None
    return (envelope, operation) if key_of(envelope) == request.id else None


def signed(held: Iterable[Held]) -> list[Signed]:
    return [
        Signed(envelope.signer, envelope.nonce, operation, envelope.since) for envelope, operation in held
    ]


def result_of(outcome: Outcome) -> bytes:
    """What replicas tell each other of an outcome, so that liars are noticed: its hash."""
    return hash32(encode(outcome))
