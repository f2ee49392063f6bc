"""The chain: each batch names the hash of the one before, so that no history can be swapped for another."""

from __future__ import annotations

import hashlib

import msgspec

from hivemind.ledger.contract import Batch

GENESIS = bytes(32)
"""What the first batch names as the one before it."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Batch)


def encode(batch: Batch) -> bytes:
    """The canonical bytes of a batch: MessagePack with the fields in their declared order."""
    return _encoder.encode(batch)


def decode(body: bytes) -> Batch:
    """Raises `msgspec.DecodeError`."""
    return _decoder.decode(body)


def link(body: bytes) -> bytes:
    """BLAKE2b-256 over an encoded batch, which holds the hash of the one before: the new head."""
    return hashlib.blake2b(body, digest_size=32, person=b"hivemind/batch/1").digest()
