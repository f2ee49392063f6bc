"""The cipher: the vector of its specification, and PyNaCl's own function, which takes longer and checks more."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings

from hivemind.protocols.noise.aead import KEY_BYTES, NONCE_BYTES, open_sealed, seal

KEY, NONCE = b"k" * KEY_BYTES, b"n" * NONCE_BYTES


def test_the_vector_of_rfc_8439() -> None:
    """Section 2.8.2."""
    text = (
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
        b"sunscreen would be it."
    )
    sealed = bytes.fromhex(
        "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b"
        "1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
        "3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691"
    )
    key, nonce = bytes(range(0x80, 0xA0)), bytes.fromhex("070000004041424344454647")
    associated = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
    assert seal(key, nonce, associated, text) == sealed
    assert open_sealed(key, nonce, associated, sealed) == text


@given(
    st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES),
    st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES),
    st.binary(max_size=80),
    st.binary(max_size=2_000) | st.integers(0, 65_519).map(bytes),
)
def test_it_is_what_pynacl_would_have_sealed(
    key: bytes, nonce: bytes, associated: bytes, text: bytes
) -> None:
    sealed = seal(key, nonce, associated, text)
    assert sealed == bindings.crypto_aead_chacha20poly1305_ietf_encrypt(text, associated, nonce, key)
    assert open_sealed(key, nonce, associated, sealed) == text


@given(st.binary(max_size=40), st.data())
def test_nothing_else_opens(text: bytes, data: st.DataObject) -> None:
    sealed = seal(KEY, NONCE, b"with", text)
    at = data.draw(st.integers(0, len(sealed) - 1))
    changed = bytearray(sealed)
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    assert open_sealed(KEY, NONCE, b"with", bytes(changed)) is None
    assert open_sealed(KEY, NONCE, b"with", sealed[:at]) is None
    assert open_sealed(KEY, NONCE, b"with", sealed + b"\0") is None
    assert open_sealed(KEY, NONCE, b"", sealed) is None
    assert open_sealed(KEY, b"N" * NONCE_BYTES, b"with", sealed) is None
    assert open_sealed(b"K" * KEY_BYTES, NONCE, b"with", sealed) is None


@pytest.mark.parametrize("function", [seal, open_sealed])
def test_nothing_is_read_beyond_what_is_given(function: Any) -> None:
    for key, nonce in ((KEY[:-1], NONCE), (KEY, NONCE[:-1]), (b"", NONCE), (KEY, b""), (KEY + b"k", NONCE)):
        with pytest.raises(ValueError, match="a key has 32 bytes"):
            function(key, nonce, b"", bytes(40))
    for wrong in ("text" * 10, None, 7, memoryview(b"0123456789" * 4)):
        with pytest.raises(TypeError):
            function(KEY, NONCE, b"", wrong)
        with pytest.raises(TypeError):
            function(KEY, NONCE, wrong, bytes(40))
