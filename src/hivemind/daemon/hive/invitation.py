"""The text of a join token: all that a new node needs to find a hive and to be let in.

`hvjoin_`, base 32 of a MessagePack, and a checksum of eight letters that tells a cut text from a wrong one. Whoever
has it may read the hive's id, its name and some addresses, talk to its nodes (the discovery secret), and join as
often as the record behind it allows (the token's private key).
"""

from __future__ import annotations

import base64
import hashlib

import msgspec

from hivemind.errors import Invalid
from hivemind.model.base import UNREADABLE
from hivemind.model.hive import NodeRole
from hivemind.transport.contract import Address

PREFIX = "hvjoin_"
_CHECK = 8
_MOST_ADDRESSES = 8


class Invitation(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    hive: str
    name: str
    secret: bytes
    """The discovery secret, 32 bytes: the hive's nodes find each other by it, and strangers may not even knock."""
    seed: bytes
    """The private key of the token, 32 bytes."""
    role: NodeRole
    addresses: tuple[Address, ...]

    def text(self) -> str:
        kept = msgspec.structs.replace(self, addresses=self.addresses[:_MOST_ADDRESSES])
        body = base64.b32encode(msgspec.msgpack.encode(kept)).decode().rstrip("=").lower()
        return f"{PREFIX}{body}{_checksum(body)}"


def read(text: str) -> Invitation:
    """Raises `Invalid` for anything that is not a whole token."""
    clean = "".join(text.split())
    body, check = clean.removeprefix(PREFIX)[:-_CHECK], clean[-_CHECK:]
    wrong = Invalid(
        "this is not a whole join token",
        hint=f"copy all of it, from {PREFIX} to the end; hivemind cluster token create makes one",
    )
    if not clean.startswith(PREFIX) or check != _checksum(body):
        raise wrong
    try:
        raw = base64.b32decode(body.upper() + "=" * (-len(body) % 8))
        found = msgspec.msgpack.decode(raw, type=Invitation)
    except (*UNREADABLE, ValueError):
        raise Invalid("this join token was made by another version of Hivemind") from None
    if len(found.secret) != 32 or len(found.seed) != 32:
        raise wrong
    return found


def _checksum(body: str) -> str:
    digest = hashlib.blake2b(body.encode(), digest_size=5, person=b"hm-invitation").digest()
    return base64.b32encode(digest).decode().lower()[:_CHECK]
