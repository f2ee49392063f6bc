"""The signed envelope that carries every operation.

The signature covers a domain tag, the hive's id and every field, each with its length, so that no message of
one kind or one hive can be taken for one of another.
"""

from __future__ import annotations

from typing import Final

import msgspec

from hivemind.security.identity import Identity, verify

STRANGER: Final = -1
_DOMAIN = b"hivemind/operation/1"


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    hive: str
    signer: str
    """Public key in hex."""
    nonce: str
    """Unique for each signer: the same one again is the same operation (exactly once)."""
    payload: bytes
    """An encoded operation."""
    since: int = 0
    """`Principal.since` of its signer, as far as that was known when it was signed: whoever is let in again is somebody
    else, for whom nothing counts that was signed before. `STRANGER`: nobody had let it in; 0: it is not said."""
    signature: bytes = b""


def _covered(envelope: Envelope) -> bytes:
    fields = (
        _DOMAIN,
        envelope.hive.encode(),
        envelope.signer.encode(),
        envelope.nonce.encode(),
        envelope.payload,
        *((str(envelope.since).encode(),) if envelope.since else ()),
    )
    return b"".join(len(field).to_bytes(8, "big") + field for field in fields)


def seal(identity: Identity, hive: str, nonce: str, payload: bytes, *, since: int = 0) -> Envelope:
    bare = Envelope(hive=hive, signer=identity.public, nonce=nonce, payload=payload, since=since)
    return msgspec.structs.replace(bare, signature=identity.sign(_covered(bare)))


def genuine(envelope: Envelope, hive: str) -> bool:
    """It was made for this hive and signed by its signer."""
    return envelope.hive == hive and verify(envelope.signer, _covered(envelope), envelope.signature)
