"""Sealing: what must be kept but not be read by whoever gets hold of a disk, a ledger or a backup.

One key a hive, which never lies beside what it protects in a backup. Each sealed thing is bound to its
*context*, a name such as `secret/default/db/password`: moved to another place it does not open. Pure: the nonce
comes in.
"""

from __future__ import annotations

import hashlib

from nacl import bindings
from nacl.exceptions import CryptoError

from hivemind.errors import Corrupt, Invalid

KEY_BYTES = 32
NONCE_BYTES = 24

_SEALING, _COMPARING = b"hm-sealing", b"hm-comparing"


class Vault:
    """Seals and opens with one key of 32 bytes (XSalsa20-Poly1305 under a key derived for each context)."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise Invalid(f"a hive key has {KEY_BYTES} bytes")
        self._key = key

    @property
    def key(self) -> bytes:
        return self._key

    def take(self, key: bytes) -> None:
        """From now on it seals and opens with another key: the node belongs to another hive."""
        if len(key) != KEY_BYTES:
            raise Invalid(f"a hive key has {KEY_BYTES} bytes")
        self._key = key

    def seal(self, plaintext: bytes, context: str, nonce: bytes) -> bytes:
        """The nonce, then the box: 40 bytes longer than `plaintext`. No nonce of 24 bytes may be used twice."""
        box = bindings.crypto_secretbox(plaintext, nonce, self._derive(context, _SEALING))
        return nonce + box

    def open(self, sealed: bytes, context: str) -> bytes:
        """Raises `Corrupt` for what this key did not seal in this context, or what was changed since."""
        nonce, box = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            return bytes(bindings.crypto_secretbox_open(box, nonce, self._derive(context, _SEALING)))
        except (CryptoError, ValueError):
            raise Corrupt(
                f"{context} cannot be opened: it was sealed with another hive key, or is damaged",
                hint="restore the hive.key that belongs to this data directory, or set the value again",
            ) from None

    def digest(self, plaintext: bytes, context: str) -> str:
        """The same for the same, so that changes can be told without opening; tells nothing without the key."""
        key = self._derive(context, _COMPARING)
        return hashlib.blake2b(plaintext, digest_size=16, key=key).hexdigest()

    def _derive(self, context: str, purpose: bytes) -> bytes:
        return hashlib.blake2b(
            context.encode(), digest_size=KEY_BYTES, key=self._key, person=purpose
        ).digest()
