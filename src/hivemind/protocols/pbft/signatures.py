"""Signatures of one hive's statements: made once, and verified at most once as long as they are remembered."""

from __future__ import annotations

from hivemind.protocols.machine import Signer, Verifier
from hivemind.protocols.pbft.wire import PROTOCOL, Body, encode
from hivemind.security.statement import Domain, Statement

_REMEMBERED = 16_384


class Signatures:
    """`hive` names the domain: the hive's id and its lineage."""

    def __init__(self, hive: str, verify: Verifier, *, remembered: int = _REMEMBERED) -> None:
        self._hive = hive
        self._verify = verify
        self._remembered = remembered
        self._good: dict[tuple[int, str, bytes, bytes], None] = {}

    def sign(self, signer: Signer, epoch: int, body: Body) -> Statement:
        encoded = encode(body)
        statement = Statement(signer.public, encoded, signer.sign(self._domain(epoch).covered(encoded)))
        self._remember((epoch, statement.signer, statement.body, statement.signature))
        return statement

    def genuine(self, epoch: int, statement: Statement) -> bool:
        return self.holds(epoch, statement.signer, statement.body, statement.signature)

    def holds(self, epoch: int, signer: str, body: bytes, signature: bytes) -> bool:
        key = (epoch, signer, body, signature)
        if key in self._good:
            return True
        if len(signature) != 64 or not self._verify(signer, self._domain(epoch).covered(body), signature):
            return False
        self._remember(key)
        return True

    def _domain(self, epoch: int) -> Domain:
        return Domain(PROTOCOL, self._hive, epoch)

    def _remember(self, key: tuple[int, str, bytes, bytes]) -> None:
        # A dict keeps the order of insertion, so what is forgotten is the same at every run.
        if len(self._good) >= self._remembered:
            del self._good[next(iter(self._good))]
        self._good[key] = None
