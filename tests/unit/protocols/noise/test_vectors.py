"""Test vectors of Noise, byte by byte: both sides' messages, hashes and what they say afterwards.

The collections of cacophony and snow have no XXpsk0 for this suite, and cacophony's hashes are those before the last
message: an independent implementation gave these, and the same messages as the collections for the rest.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hivemind.protocols.noise.cipher import public_key
from hivemind.protocols.noise.handshake import HandshakeState
from hivemind.protocols.noise.patterns import PATTERNS

VECTORS = sorted((Path(__file__).parent / "vectors").glob("*.json"))


def side(vector: dict[str, Any], name: str) -> HandshakeState:
    keys = {key: bytes.fromhex(value) for key, value in vector[name].items()}
    return HandshakeState(
        PATTERNS[vector["pattern"]],
        initiator=name == "initiator",
        prologue=bytes.fromhex(vector["prologue"]),
        psks=[bytes.fromhex(psk) for psk in vector["psks"]],
        **keys,
    )


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_vector(path: Path) -> None:
    vector = json.loads(path.read_text())
    initiator, responder = side(vector, "initiator"), side(vector, "responder")
    sides = [initiator, responder]
    messages = [
        (bytes.fromhex(message["payload"]), bytes.fromhex(message["ciphertext"]))
        for message in vector["messages"]
    ]
    ciphers = None
    for number, (payload, ciphertext) in enumerate(messages):
        writer, reader = sides[number % 2], sides[(number + 1) % 2]
        if not writer.finished:
            assert writer.writes and not reader.writes
            assert writer.write(payload) == ciphertext
            assert reader.read(ciphertext) == payload
            continue
        if ciphers is None:
            assert initiator.finished and responder.finished
            assert initiator.hash == responder.hash
            if vector["handshake_hash"]:
                assert initiator.hash.hex() == vector["handshake_hash"]
            ciphers = [initiator.split(), responder.split()]
        sending, receiving = ciphers[number % 2][0], ciphers[(number + 1) % 2][1]
        assert sending.seal(b"", payload) == ciphertext
        assert receiving.open(b"", ciphertext) == payload
    assert ciphers is not None, "the vector goes on after the handshake"
    if "static" in vector["initiator"]:
        assert responder.remote_static == public_key(bytes.fromhex(vector["initiator"]["static"]))
        assert initiator.remote_static == public_key(bytes.fromhex(vector["responder"]["static"]))


def test_the_vectors_are_there() -> None:
    assert {path.stem for path in VECTORS} == {"NN", "XX", "IK", "XXpsk0", "XXpsk0+psk3"}
