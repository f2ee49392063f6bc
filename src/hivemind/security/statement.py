"""Statements: what a node says and can be held to, signed so that no statement of one kind passes for another.

The signature covers a domain tag, the protocol, the hive's id, the epoch and the body, each with its length. The
body is signed as it travels and never encoded again: who passes a statement on passes these bytes on. Which kind
of message the body is, it says itself (each protocol's bodies are tagged structs of one union).
"""

from __future__ import annotations

import msgspec

_DOMAIN = b"hivemind/statement/1"


class Statement(msgspec.Struct, frozen=True, array_like=True):
    """`signer`: public key in hex."""

    signer: str
    body: bytes
    signature: bytes


class Domain(msgspec.Struct, frozen=True):
    """Where a statement counts. `protocol` as `pbft`; `epoch` 0 where there are none."""

    protocol: str
    hive: str
    epoch: int = 0

    def covered(self, body: bytes) -> bytes:
        """The bytes that are signed for `body`."""
        fields = (_DOMAIN, self.protocol.encode(), self.hive.encode(), self.epoch.to_bytes(8, "big"), body)
        return b"".join(len(field).to_bytes(8, "big") + field for field in fields)
