"""The cryptographic functions and the `CipherState` of Noise, sections 4, 5.1 and 12.

One suite: X25519, ChaCha20-Poly1305, BLAKE2b of 64 bytes.
"""

from __future__ import annotations

import hashlib
import hmac

from nacl import bindings
from nacl.exceptions import CryptoError

from hivemind.errors import Unauthenticated

KEY_BYTES = 32
HASH_BYTES = 64
TAG_BYTES = 16
LAST_NONCE = 2**64 - 1
"""Reserved for rekeying."""


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
        sealed = bindings.crypto_aead_chacha20poly1305_ietf_encrypt(
            plaintext, associated, self._nonce(), self._key
        )
        self.n += 1
        return bytes(sealed)

    def open(self, associated: bytes, ciphertext: bytes) -> bytes:
        """`DecryptWithAd`. Raises `Refused`; then `n` has not changed."""
        if self._key is None:
            return ciphertext
        nonce = self._nonce()
        try:
            opened = bindings.crypto_aead_chacha20poly1305_ietf_decrypt(
                ciphertext, associated, nonce, self._key
            )
        except (CryptoError, ValueError, TypeError):
            raise Refused("a message does not open: it was changed, replayed or meant for another") from None
        self.n += 1
        return bytes(opened)

    def rekey(self) -> None:
        """Section 4.2's default: the key becomes the encryption of zeros under the last nonce; `n` stays."""
        assert self._key is not None, "there is a key after the handshake"
        sealed = bindings.crypto_aead_chacha20poly1305_ietf_encrypt(
            bytes(KEY_BYTES), b"", _encoded(LAST_NONCE), self._key
        )
        self._key = bytes(sealed[:KEY_BYTES])

    def _nonce(self) -> bytes:
        if self.n >= LAST_NONCE:
            raise Refused("the channel has used up its nonces", hint="connect anew")
        return _encoded(self.n)


def _encoded(n: int) -> bytes:
    return bytes(4) + n.to_bytes(8, "little")
