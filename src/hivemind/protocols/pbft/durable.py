"""What a replica must not forget, and what it was when it stopped.

A vote is a record before it is a message: PREPARE (or one's own PRE-PREPARE) with the proposal, COMMIT with the
certificate it rests on, VIEW-CHANGE, NEW-VIEW, CHECKPOINT. With each stable checkpoint all that still matters is
written anew and takes the place of what was before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from hivemind.errors import Corrupt
from hivemind.protocols.pbft.wire import CheckpointCertificate, PreparedCertificate
from hivemind.security.statement import Statement


class Accepted(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """I vote to order this so: PREPARE, or PRE-PREPARE when `preprepare` is my own. `proposal` is empty where an
    earlier record, or the ledger, has it."""

    epoch: int
    preprepare: Statement
    proposal: bytes


class WasPrepared(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """I vote COMMIT."""

    epoch: int
    certificate: PreparedCertificate


class Left(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """I take no part in earlier views any more. `change` is my VIEW-CHANGE."""

    epoch: int
    view: int
    change: Statement


class Entered(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """A view has begun here. `proof` is its NEW-VIEW."""

    epoch: int
    view: int
    proof: Statement


class Vouched(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """My CHECKPOINT."""

    epoch: int
    sequence: int
    checkpoint: Statement


class Certified(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """A stable checkpoint."""

    certificate: CheckpointCertificate


class Forgot(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """My records were lost. What I may have voted for is not known yet."""

    epoch: int


class Bounded(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """Nothing that I voted for before is beyond these."""

    epoch: int
    view: int
    sequence: int


class Trusted(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """What was forgotten cannot matter any more: I vote again."""

    epoch: int


class Proposed(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """The body of a proposal that a prepared certificate of an earlier view is about."""

    proposal: bytes


Record = (
    Accepted | WasPrepared | Left | Entered | Vouched | Certified | Forgot | Bounded | Trusted | Proposed
)  # fmt: skip

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[Record, ...])


def encode_records(records: Iterable[Record]) -> bytes:
    return _encoder.encode(tuple(records))


def decode_records(written: Sequence[bytes]) -> list[Record]:
    """Raises `Corrupt`: what a replica voted for must be known exactly, or not at all."""
    records: list[Record] = []
    for number, data in enumerate(written):
        try:
            records.extend(_decoder.decode(data))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Corrupt(
                f"record {number} of the votes cannot be read: {error}",
                hint="take the log of votes away: the node then abstains until its old votes cannot matter",
            ) from None
    return records
