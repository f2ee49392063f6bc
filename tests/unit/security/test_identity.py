"""Keys and tokens. The vectors are those of RFC 8032, section 7.1."""

from __future__ import annotations

import pytest

from hivemind.errors import Invalid
from hivemind.security.identity import Identity, from_token, verify

VECTORS = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
        "4a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize(("seed", "public", "message", "signature"), VECTORS)
def test_rfc_8032(seed: str, public: str, message: str, signature: str) -> None:
    identity = Identity(bytes.fromhex(seed))
    assert identity.public == public
    assert identity.sign(bytes.fromhex(message)).hex() == signature
    assert verify(public, bytes.fromhex(message), bytes.fromhex(signature))
    assert not verify(public, bytes.fromhex(message) + b"x", bytes.fromhex(signature))


def test_a_signature_with_any_bit_changed_is_refused() -> None:
    identity = Identity(bytes(32))
    signature = identity.sign(b"message")
    for at in range(64):
        assert not verify(
            identity.public, b"message", signature[:at] + bytes([signature[at] ^ 1]) + signature[at + 1 :]
        )


@pytest.mark.parametrize("public", ["", "zz" * 32, "00", "ab" * 31, "ab" * 33, "é" * 64])
def test_nonsense_for_a_key_verifies_nothing(public: str) -> None:
    assert not verify(public, b"message", bytes(64))


@pytest.mark.parametrize("size", [0, 1, 63, 65])
def test_a_signature_of_the_wrong_length_verifies_nothing(size: int) -> None:
    """Bytes must not move between signature and message either."""
    identity = Identity(bytes(32))
    assert not verify(identity.public, b"message", identity.sign(b"message")[:size].ljust(size, b"\0"))
    whole = identity.sign(b"message")
    assert not verify(identity.public, b"essage", whole + b"m")


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_seed_has_32_bytes(size: int) -> None:
    with pytest.raises(Invalid):
        Identity(bytes(size))


def test_a_token_comes_back_as_the_same_key() -> None:
    identity = Identity(bytes(range(32)))
    assert from_token(identity.token()).public == identity.public
    assert from_token(f"  {identity.token()}\n").public == identity.public
    assert len(identity.token()) == 3 + 52 + 4


def test_a_token_cut_anywhere_or_mistyped_is_refused() -> None:
    token = Identity(bytes(range(32))).token()
    wrong = [token[:size] for size in range(len(token))] + [token[size:] for size in range(1, len(token))]
    wrong += [
        token[:at] + ("a" if token[at] != "a" else "b") + token[at + 1 :] for at in range(3, len(token))
    ]
    for each in [*wrong, "", "hm_", token + "a", token[3:], "hm_é" + token[4:]]:
        with pytest.raises(Invalid) as refusal:
            from_token(each)
        assert refusal.value.hint
