"""Signatures of one hive's statements: made once, and verified at most once as long as they are remembered."""

from __future__ import annotations

from hivemind.protocols.machine import Signer, Verifier
from hivemind.protocols.pbft.wire import PROTOCOL, Body, digest, encode
from hivemind.security.statement import Domain, Statement

_REMEMBERED = 4_096
"""Four times what seven voters say about all sequences that may be voted on."""
_SIGNATURE = 64


class Signatures:
    """`hive` names the domain: the hive's id and its lineage."""

    def __init__(self, hive: str, verify: Verifier, *, remembered: int = _REMEMBERED) -> None:
        self._hive = hive
        self._verify = verify
        self._remembered = remembered
        self._good: dict[bytes, None] = {}
        """Digests: what was signed is not kept for it."""

    def sign(self, signer: Signer, epoch: int, body: Body) -> Statement:
        encoded = encode(body)
        statement = Statement(signer.public, encoded, signer.sign(self._domain(epoch).covered(encoded)))
        self._remember(_key(epoch, statement.signer, encoded, statement.signature))
        return statement

    def genuine(self, epoch: int, statement: Statement) -> bool:
        return self.holds(epoch, statement.signer, statement.body, statement.signature)

    def holds(self, epoch: int, signer: str, body: bytes, signature: bytes) -> bool:
        if len(signature) != _SIGNATURE:
            return False
        key = _key(epoch, signer, body, signature)
        if key in self._good:
            return True
        if not self._verify(signer, self._domain(epoch).covered(body), signature):
            return False
        self._remember(key)
        return True

    def _domain(self, epoch: int) -> Domain:
        return Domain(PROTOCOL, self._hive, epoch)

    def _remember(self, key: bytes) -> None:
        # A dict keeps the order of insertion, so what is forgotten is the same at every run.
        if len(self._good) >= self._remembered:
            del self._good[next(iter(self._good))]
        self._good[key] = None


def _key(epoch: int, signer: str, body: bytes, signature: bytes) -> bytes:
    """No two statements have the same: of what is put together only the body, at the end, may have any length."""
    name = signer.encode()
    return digest(b"%d %d %b%b%b" % (epoch, len(name), name, signature, body))
