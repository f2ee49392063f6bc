"""What is sealed opens in its own place with its own key, and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemind.errors import Corrupt, Invalid
from hivemind.security.sealing import NONCE_BYTES, Vault

KEY, NONCE = bytes(range(32)), bytes(range(NONCE_BYTES))


@given(st.binary(max_size=200), st.text(max_size=50))
def test_what_is_sealed_opens_again(plaintext: bytes, context: str) -> None:
    vault = Vault(KEY)
    sealed = vault.seal(plaintext, context, NONCE)
    assert vault.open(sealed, context) == plaintext
    assert len(sealed) == len(plaintext) + 40


def test_another_place_another_key_and_any_changed_byte_are_noticed() -> None:
    vault = Vault(KEY)
    sealed = vault.seal(b"hunter2", "secret/default/db/password", NONCE)
    assert b"hunter2" not in sealed
    for context in ("secret/default/db/user", "secret/other/db/password", ""):
        with pytest.raises(Corrupt, match="cannot be opened"):
            vault.open(sealed, context)
    with pytest.raises(Corrupt):
        Vault(bytes(32)).open(sealed, "secret/default/db/password")
    for index in range(len(sealed)):
        changed = sealed[:index] + bytes([sealed[index] ^ 1]) + sealed[index + 1 :]
        with pytest.raises(Corrupt):
            vault.open(changed, "secret/default/db/password")
    for cut in (b"", sealed[:10], sealed[:NONCE_BYTES], sealed[:-1]):
        with pytest.raises(Corrupt):
            vault.open(cut, "secret/default/db/password")


def test_digests_tell_change_and_nothing_else() -> None:
    vault = Vault(KEY)
    assert vault.digest(b"a", "one") == vault.digest(b"a", "one")
    assert len({vault.digest(b"a", "one"), vault.digest(b"b", "one"), vault.digest(b"a", "two")}) == 3
    assert Vault(bytes(32)).digest(b"a", "one") != vault.digest(b"a", "one")


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(Invalid, match="32 bytes"):
        Vault(b"short")
