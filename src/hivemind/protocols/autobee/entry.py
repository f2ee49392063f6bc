"""What a writer says: the bodies of its entries, the signed heads of its log, and what it has seen of others."""

from __future__ import annotations

from typing import Annotated

import msgspec

from hivemind.protocols.autobee.log import Length
from hivemind.protocols.machine import Signer, Verifier
from hivemind.security.statement import Domain, Statement

PROTOCOL = "autobee"
LONGEST_KEY = 512
"""Characters."""
LARGEST_VALUE = 1 << 18
"""Bytes of a value."""
MOST_WRITERS = 4096
Number = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]
"""Of a fork, which is milliseconds since 1970, of Lamport's clock."""


class Entry(msgspec.Struct, frozen=True):
    """An entry as readers see it."""

    key: str
    value: bytes | None
    """None: deleted."""
    writer: str
    """Public key of the node that wrote it, in hex."""
    sequence: int
    """Position in that writer's log, from 1."""
    time: int
    """The writer's clock, milliseconds since 1970. Never used to decide order."""
    clock: int = 0
    """Lamport's: orders entries of all writers, the same everywhere; equal ones by writer, then sequence."""
    withdrawn: bool = False
    """Of a deletion: only of what this writer had written itself."""


class Seen(msgspec.Struct, frozen=True, array_like=True):
    """A causal head: how much of another writer's log had been delivered."""

    writer: bytes
    """The 32 bytes of its public key."""
    fork: Number
    length: Length


class Body(msgspec.Struct, frozen=True, array_like=True):
    """One entry as it is stored, signed over (through the tree) and sent; never encoded again."""

    sequence: int
    clock: int
    """Lamport's: greater than that of everything its writer had seen, the same for all of a batch."""
    key: str
    value: bytes | None
    """None: deleted."""
    time: int
    """The writer's wall clock, milliseconds since 1970; decides nothing."""
    more: int = 0
    """How many entries of the same batch follow."""
    seen: tuple[Seen, ...] = ()
    """What of others had been delivered since the writer's batch before; on the first entry of a batch."""
    withdrawn: bool = False
    """Of a deletion: takes back only what this writer had said, because another one's entry counts anyway."""


class Head(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The writer's log has this length and root."""

    fork: Number
    length: Length
    root: bytes


class Ack(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """A writer's promise that its entries behind `length` will have greater clocks than `clock`, and what of its log
    still counts: `live` entries, whose sequences have this digest (see `order.Tally`). A newer one replaces it; as
    entries of the log they would only fill it."""

    fork: Number
    length: Length
    clock: Number
    live: Length
    digest: bytes


Said = Head | Ack
_encode = msgspec.msgpack.Encoder().encode
_body = msgspec.msgpack.Decoder(Body).decode
_said = msgspec.msgpack.Decoder(Said).decode


def encode_body(body: Body) -> bytes:
    return _encode(body)


def decode_body(data: bytes, sequence: int) -> Body | None:
    """None: it says nothing that counts. Everyone judges alike, so what a liar signed is nothing for all."""
    try:
        body = _body(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    sane = (
        body.sequence == sequence
        and 0 < body.clock < 1 << 62
        and 0 < len(body.key) <= LONGEST_KEY
        and (body.value is None or len(body.value) <= LARGEST_VALUE)
        and body.more >= 0
        and len(body.seen) <= MOST_WRITERS
    )
    return body if sane else None


def entry_of(body: Body, writer: str) -> Entry:
    return Entry(body.key, body.value, writer, body.sequence, body.time, body.clock, body.withdrawn)


class Notary:
    """Signs for one hive, and verifies."""

    def __init__(self, hive: str, verify: Verifier) -> None:
        self._domain, self._verify = Domain(PROTOCOL, hive), verify

    def sign(self, signer: Signer, said: Said) -> Statement:
        body = _encode(said)
        return Statement(signer.public, body, signer.sign(self._domain.covered(body)))

    def genuine(self, statement: Statement) -> bool:
        return self._verify(statement.signer, self._domain.covered(statement.body), statement.signature)


def read(statement: Statement) -> Said | None:
    """What it says, whoever signed it. None: nothing that can be read."""
    try:
        said: Said = _said(statement.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return said
