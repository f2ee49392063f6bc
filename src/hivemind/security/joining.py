"""What is signed when a node joins: by the token's key, so that whoever made the token lets this node in, and by the
node's own, so that nobody is brought into a hive by others."""

from __future__ import annotations

from hivemind.security.statement import Domain


def joining(hive: str, node: str, administrator: str) -> bytes:
    """The bytes under both signatures. `node` and `administrator` are public keys in hex."""
    return Domain("join", hive).covered(f"{node} {administrator}".encode())
