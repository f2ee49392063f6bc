"""What is signed when a node joins: by the token's key, so that whoever made the token lets this node in, and by the
node's own, so that nobody is brought into a hive by others.

And what both sides of the door show each other first. A hive's discovery secret is in every join token, so that who has
it need not be of the hive; but the public key of a token is agreed by the hive and told to nobody else. Who wants in
therefore neither says what it has nor believes anybody before that one has shown that it knows the token. Nodes that
were of the hive when the token was made, and are not any more, know it as well."""

from __future__ import annotations

import hashlib
from typing import Literal

from hivemind.security.statement import Domain


def joining(hive: str, node: str, administrator: str) -> bytes:
    """The bytes under both signatures. `node` and `administrator` are public keys in hex."""
    return Domain("join", hive).covered(f"{node} {administrator}".encode())


def acquainted(token: str, side: Literal["newcomer", "sponsor"], binding: bytes) -> bytes:
    """32 bytes that show that this side knows the token's public key, given in hex, on the connection of that binding
    and on no other one. They tell nothing of the key."""
    person = b"hm-join-newcomer" if side == "newcomer" else b"hm-join-sponsor"
    return hashlib.blake2b(binding, digest_size=32, key=bytes.fromhex(token), person=person).digest()
