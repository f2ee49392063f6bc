"""A node's key in a handshake is derived from the key that is its id.

Ids are Ed25519 keys, Noise agrees by X25519. Both are the same curve in two forms, so libsodium's conversion gives
each id its one static key, public from public and private from private: whoever knows an id can call that node
without asking anybody for its key, and the handshakes stay those of the specification, testable against published
vectors (agreeing on Ed25519 keys themselves would be a suite of its own). A key of the form for agreeing has lost the
sign of the point, and belongs to an id and to its negative alike. So each side also names its id, sealed, in the
handshake; who knows the private key of the one knows that of the other, so that nobody gains somebody else's id.
"""

from __future__ import annotations

from nacl import bindings
from nacl.exceptions import CryptoError

from hivemind.protocols.noise.cipher import Refused

ID_BYTES = 32


def static_private(seed: bytes, node: str) -> bytes:
    """`seed`: the 32 bytes of the Ed25519 key of `node`."""
    return bytes(bindings.crypto_sign_ed25519_sk_to_curve25519(seed + bytes.fromhex(node)))


def static_public(node: str) -> bytes:
    """Raises `Refused` for what is no key."""
    try:
        return bytes(bindings.crypto_sign_ed25519_pk_to_curve25519(bytes.fromhex(node)))
    except (RuntimeError, ValueError, CryptoError):
        raise Refused(f"{node[:8]} is not the id of a node") from None
