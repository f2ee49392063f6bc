"""Tokens: whoever wants something stored has asked from its host just before, and got one. So nobody stores in the name
of an address at which it does not hear."""

from __future__ import annotations

import hashlib

from hivemind.protocols.kademlia.ids import digest
from hivemind.protocols.machine import Dice, Micros

SIZE = 16


class Tokens:
    """A keyed hash of the host; the key is replaced regularly, and tokens of the one before still count."""

    def __init__(self, dice: Dice, every: Micros) -> None:
        self._dice, self._every = dice, every
        self._secrets = (self._secret(), self._secret())
        self.due: Micros = 0

    def token(self, host: str) -> bytes:
        return _keyed(self._secrets[0], host)

    def valid(self, host: str, token: bytes) -> bool:
        return token in [_keyed(secret, host) for secret in self._secrets]

    def rotate(self, now: Micros) -> None:
        if now >= self.due:
            self._secrets = (self._secret(), self._secrets[0])
            self.due = now + self._every

    def _secret(self) -> bytes:
        return self._dice.randrange(2**256).to_bytes(32, "big")


def digested(token: bytes) -> bytes:
    """What others may see of a token that was used."""
    return digest(b"hm-dht-token", token, size=SIZE)


def _keyed(secret: bytes, host: str) -> bytes:
    return hashlib.blake2b(host.encode(), key=secret, digest_size=SIZE).digest()
