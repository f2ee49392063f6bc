"""Identities: Ed25519 keys (RFC 8032). A node's id and a person's id are their public keys in hex.

Pure: the 32 seed bytes come from the caller. A token is a seed in text, so whoever holds it can sign; the hive
only ever keeps public keys.
"""

from __future__ import annotations

import base64
import hashlib

from nacl import bindings
from nacl.exceptions import BadSignatureError

from hivemind.errors import Invalid

_TOKEN_PREFIX = "hm_"


class Identity:
    """A private key. `public` is its id: 64 hex digits."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != 32:
            raise Invalid("a key seed has 32 bytes")
        public, self._secret = bindings.crypto_sign_seed_keypair(seed)
        self.public = public.hex()
        self.seed = seed

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        return bytes(bindings.crypto_sign(message, self._secret)[:64])

    def token(self) -> str:
        """This key as a bearer token: `hm_`, 52 letters of base 32 and a checksum of 4."""
        body = base64.b32encode(self.seed).decode().rstrip("=").lower()
        return f"{_TOKEN_PREFIX}{body}{_checksum(body)}"


def from_token(token: str) -> Identity:
    """Raises `Invalid` for anything that is not a whole token (the checksum tells a cut one from a wrong one)."""
    body = token.strip().removeprefix(_TOKEN_PREFIX)
    secret, check = body[:-4], body[-4:]
    try:
        seed = base64.b32decode(secret.upper() + "====")
    except ValueError:
        seed = b""
    if not token.strip().startswith(_TOKEN_PREFIX) or len(seed) != 32 or check != _checksum(secret):
        raise Invalid("this is not a whole token", hint="copy all of it, from hm_ to the end")
    return Identity(seed)


def verify(public: str, message: bytes, signature: bytes) -> bool:
    """Only a signature of exactly 64 bytes by a key in its one spelling, lower-case hex, counts: no byte may move
    between signature and message, and no signer may have two names."""
    try:
        key = bytes.fromhex(public)
        if len(signature) != 64 or key.hex() != public:
            return False
        bindings.crypto_sign_open(signature + message, key)
    except (BadSignatureError, ValueError, TypeError):
        return False
    return True


def _checksum(body: str) -> str:
    digest = hashlib.blake2b(body.encode(), digest_size=5).digest()
    return base64.b32encode(digest).decode().lower()[:4]
