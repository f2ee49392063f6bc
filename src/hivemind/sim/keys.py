"""Keys of simulated nodes and people: real Ed25519, or stand-ins of keyed BLAKE2b that cost a twentieth.

A stand-in is verified by whoever has its secret, which in a simulation is the simulation; the liars in it are only
ever given their own.
"""

from __future__ import annotations

import hashlib

from hivemind.protocols.machine import Signer
from hivemind.security.identity import Identity, verify


class StandIn:
    def __init__(self, secret: bytes, public: str = "") -> None:
        self._secret = secret
        self.public = public or hashlib.blake2b(secret, digest_size=32).hexdigest()

    def sign(self, message: bytes) -> bytes:
        return hashlib.blake2b(message, key=self._secret, digest_size=64).digest()


class Keyring:
    """Makes keys from the seed and names, and verifies what they signed. `identities`: stand-ins bear the public keys
    of real ones, which sign what state itself verifies."""

    def __init__(self, seed: int, *, real: bool = False, identities: bool = False) -> None:
        self._seed, self._real, self._identities = seed, real, identities
        self._known: dict[str, StandIn] = {}
        self.named: dict[str, Identity] = {}
        """Public key -> the real one that bears it, of those that were made."""

    def key(self, name: str) -> Signer:
        if self._real:
            return self.identity(name)
        made = StandIn(self._secret(name), self.identity(name).public if self._identities else "")
        self._known[made.public] = made
        return made

    def identity(self, name: str) -> Identity:
        made = Identity(self._secret(name))
        self.named[made.public] = made
        return made

    def _secret(self, name: str) -> bytes:
        return hashlib.blake2b(f"{self._seed}/{name}".encode(), digest_size=32).digest()

    def verify(self, public: str, message: bytes, signature: bytes) -> bool:
        if self._real:
            return verify(public, message, signature)
        signer = self._known.get(public)
        return signer is not None and signer.sign(message) == signature
