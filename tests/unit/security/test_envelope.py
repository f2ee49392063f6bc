"""Envelopes: every field is covered, and nothing of another hive passes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from hivemind.security.envelope import Envelope, genuine, seal
from hivemind.security.identity import Identity

ME = Identity(bytes(32))


def test_a_sealed_envelope_is_genuine_in_its_hive_only() -> None:
    envelope = seal(ME, "hive", "nonce", b"payload")
    assert envelope.signer == ME.public
    assert genuine(envelope, "hive")
    assert not genuine(envelope, "other")


@pytest.mark.parametrize(
    "change",
    [
        {"hive": "hive2"},
        {"signer": Identity(bytes([1] * 32)).public},
        {"signer": "nonsense"},
        {"nonce": "nonce2"},
        {"payload": b"payload2"},
        {"payload": b""},
        {"since": 3},
        {"since": 0},
        {"signature": bytes(64)},
        {"signature": b""},
    ],
)
def test_every_field_is_covered(change: dict[str, Any]) -> None:
    changed = replace(seal(ME, "hive", "nonce", b"payload", since=2), **change)
    assert not genuine(changed, changed.hive)


def test_letters_cannot_move_between_fields() -> None:
    one = seal(ME, "hive", "nonce", b"payload")
    moved = replace(one, nonce="noncep", payload=b"ayload")
    assert not genuine(moved, "hive")


def test_a_signature_of_the_bare_payload_is_no_envelope() -> None:
    bare = Envelope(hive="hive", signer=ME.public, nonce="n", payload=b"p", signature=ME.sign(b"p"))
    assert not genuine(bare, "hive")


def test_a_key_has_one_spelling() -> None:
    """Ids are compared as text everywhere, so one key must have one spelling."""

    class Shouting(Identity):
        def __init__(self, seed: bytes) -> None:
            super().__init__(seed)
            self.public = self.public.upper()

    shouted = seal(Shouting(bytes(32)), "hive", "nonce", b"payload")
    assert shouted.signer != ME.public
    assert not genuine(shouted, "hive")


def test_what_does_not_say_since_when_its_signer_is_known_is_signed_as_ever() -> None:
    """Ledgers hold such, and their chain covers the bytes."""
    envelope = seal(ME, "hive", "nonce", b"payload")
    assert b"since" not in msgspec.msgpack.encode(envelope)
    assert genuine(msgspec.msgpack.decode(msgspec.msgpack.encode(envelope), type=Envelope), "hive")
