"""The cryptographic functions and the `CipherState` of Noise, sections 4, 5.1 and 12.

One suite: X25519, ChaCha20-Poly1305, BLAKE2b of 64 bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import struct

from nacl import bindings
from nacl.exceptions import CryptoError

from hivemind.errors import Unauthenticated
from hivemind.protocols.noise.aead import KEY_BYTES, open_sealed, seal

HASH_BYTES = 64
LAST_NONCE = 2**64 - 1
"""Reserved for rekeying."""
_encoded = struct.Struct("<4xQ").pack
"""A nonce, from its number."""


class Refused(Unauthenticated):
    """What came is not what the other side of this handshake or channel would have sent."""


def public_key(private: bytes) -> bytes:
    return bytes(bindings.crypto_scalarmult_base(private))


def agree(private: bytes, public: bytes) -> bytes:
    """X25519. Raises `Refused` for a public key of small order, with which everybody agrees on the same secret."""
    try:
        return bytes(bindings.crypto_scalarmult(private, public))
    except (RuntimeError, ValueError, CryptoError):
        raise Refused("the other side's key is none") from None


def blake2b(data: bytes) -> bytes:
    return hashlib.blake2b(data).digest()


def derive(chaining_key: bytes, material: bytes, outputs: int) -> tuple[bytes, ...]:
    """HKDF (RFC 5869) with empty info: `outputs` keys of 64 bytes."""
    secret = hmac.digest(chaining_key, material, "blake2b")
    derived: list[bytes] = []
    last = b""
    for number in range(1, outputs + 1):
        last = hmac.digest(secret, last + bytes([number]), "blake2b")
        derived.append(last)
    return tuple(derived)


class CipherState:
    """`n` counts what was sealed or opened with the key."""

    __slots__ = ("_key", "n")

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key
        self.n = 0

    @property
    def has_key(self) -> bool:
        return self._key is not None

    def set_key(self, key: bytes) -> None:
        self._key, self.n = key, 0

    def seal(self, associated: bytes, plaintext: bytes) -> bytes:
        """`EncryptWithAd`: as it is while there is no key."""
        if self._key is None:
            return plaintext
        if self.n >= LAST_NONCE:
            raise _used_up()
        sealed = seal(self._key, _encoded(self.n), associated, plaintext)
        self.n += 1
        return sealed

    def open(self, associated: bytes, ciphertext: bytes) -> bytes:
        """`DecryptWithAd`. Raises `Refused`; then `n` has not changed."""
        if self._key is None:
            return ciphertext
        if self.n >= LAST_NONCE:
            raise _used_up()
        opened = open_sealed(self._key, _encoded(self.n), associated, ciphertext)
        if opened is None:
            raise Refused("a message does not open: it was changed, replayed or meant for another")
        self.n += 1
        return opened

    def rekey(self) -> None:
        """Section 4.2's default: the key becomes the encryption of zeros under the last nonce; `n` stays."""
        assert self._key is not None, "there is a key after the handshake"
        self._key = seal(self._key, _encoded(LAST_NONCE), b"", bytes(KEY_BYTES))[:KEY_BYTES]


def _used_up() -> Refused:
    return Refused("the channel has used up its nonces", hint="connect anew")
