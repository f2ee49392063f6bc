"""What is signed, and for whom it counts. Announcing, taking back and values are domains of their own: no signature of
one passes for another. An announcement counts at one node only, and with the token that this one gave."""

from __future__ import annotations

from hivemind.protocols.kademlia.ids import digest
from hivemind.protocols.machine import Signer, Verifier
from hivemind.security.statement import Domain


class Notary:
    """Signs as this node, and verifies what others signed, for one hive."""

    def __init__(self, signer: Signer, verify: Verifier, hive: str) -> None:
        self.public = signer.public
        self._signer, self._verify = signer, verify
        self._announce = Domain("dht/announce", hive)
        self._unannounce = Domain("dht/unannounce", hive)
        self._value = Domain("dht/value", hive)

    def announce(self, target: bytes, token: bytes, storer: bytes, peer: bytes) -> bytes:
        """`token`: its digest; `storer`: the id of the node that stores it; `peer`: a `wire.Peer`."""
        return self._signer.sign(self._announce.covered(target + token + storer + peer))

    def announced(
        self, signer: str, target: bytes, token: bytes, storer: bytes, peer: bytes, signature: bytes
    ) -> bool:
        return self._verify(signer, self._announce.covered(target + token + storer + peer), signature)

    def unannounce(self, target: bytes, token: bytes, storer: bytes, stamp: int) -> bytes:
        return self._signer.sign(self._unannounce.covered(_taken_back(target, token, storer, stamp)))

    def unannounced(
        self, signer: str, target: bytes, token: bytes, storer: bytes, stamp: int, signature: bytes
    ) -> bool:
        covered = self._unannounce.covered(_taken_back(target, token, storer, stamp))
        return self._verify(signer, covered, signature)

    def sign_value(self, salt: bytes, sequence: int, value: bytes) -> bytes:
        return self._signer.sign(self._value.covered(_valued(salt, sequence, value)))

    def signed_value(self, signer: str, salt: bytes, sequence: int, value: bytes, signature: bytes) -> bool:
        return self._verify(signer, self._value.covered(_valued(salt, sequence, value)), signature)


def immutable_key(value: bytes) -> bytes:
    return digest(b"hm-dht-value", value)


def mutable_key(signer: str, salt: bytes) -> bytes:
    return digest(b"hm-dht-mutable", signer.encode(), salt)


def _taken_back(target: bytes, token: bytes, storer: bytes, stamp: int) -> bytes:
    return target + token + storer + stamp.to_bytes(8, "big")


def _valued(salt: bytes, sequence: int, value: bytes) -> bytes:
    return len(salt).to_bytes(1, "big") + salt + sequence.to_bytes(8, "big") + value
