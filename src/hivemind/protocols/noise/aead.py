"""ChaCha20-Poly1305 (RFC 8439, section 2.8) for messages of some hundred bytes, of which there are many.

This calls libsodium by the binding that PyNaCl is made of. PyNaCl's own function formats a sentence about each of its
arguments for the case that it is wrong, which takes three times as long as the cipher: it was a quarter of what a
message between two nodes cost. What that keeps from happening is seen to here: nothing is read beyond the end of what
is given, and no buffer outlives a call or is shared by two.
"""

from __future__ import annotations

from nacl._sodium import ffi, lib

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16

_seal = lib.crypto_aead_chacha20poly1305_ietf_encrypt
_open = lib.crypto_aead_chacha20poly1305_ietf_decrypt
_view = ffi.buffer
_null = ffi.NULL
_room = ffi.new_allocator(should_clear_after_alloc=False)
"""Memory that the cipher fills whole, or that nobody reads."""


def seal(key: bytes, nonce: bytes, associated: bytes, plaintext: bytes) -> bytes:
    """The ciphertext and its tag, which is `TAG_BYTES` longer."""
    if len(key) != KEY_BYTES or len(nonce) != NONCE_BYTES:
        raise _wrong()
    length = len(plaintext)
    sealed = _room("unsigned char[]", length + TAG_BYTES)
    if _seal(sealed, _null, plaintext, length, associated, len(associated), _null, nonce, key):
        raise RuntimeError("libsodium did not seal")
    return bytes(_view(sealed))


def open_sealed(key: bytes, nonce: bytes, associated: bytes, ciphertext: bytes) -> bytes | None:
    """The plaintext; None if this was not sealed so."""
    if len(key) != KEY_BYTES or len(nonce) != NONCE_BYTES:
        raise _wrong()
    length = len(ciphertext)
    if length < TAG_BYTES:
        return None
    opened = _room("unsigned char[]", length - TAG_BYTES)
    if _open(opened, _null, _null, ciphertext, length, associated, len(associated), nonce, key):
        return None
    return bytes(_view(opened))


def _wrong() -> ValueError:
    return ValueError(f"a key has {KEY_BYTES} bytes and a nonce {NONCE_BYTES}")
