"""What PBFT's nodes say to each other.

What a node can be held to is a `Statement` in `Domain("pbft", hive, epoch)` whose body is one of `Body`; it may be
passed on by others and counts the same. Bodies are canonical: one that does not encode to the very bytes it came as
is refused, so a certificate needs only its content once and the signatures over it. All else (questions, and
answers that prove themselves) goes unsigned over channels that prove who is at the other end.

Messages are msgpack arrays, each of a union with its tag. Sizes are looked at before anything is decoded, counts
before any signature is verified.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from hivemind.model.hive import Epoch
from hivemind.protocols.pbft import limits
from hivemind.security.statement import Statement

PROTOCOL = "pbft"


class Request(msgspec.Struct, frozen=True, array_like=True):
    """REQUEST. `id`: `<signer>/<nonce>`, the same one again is the same request. `client`: the node that wants a
    REPLY, or empty. `body` is what state executes, and how it can be told who signed it."""

    id: str
    client: str
    body: bytes

    @property
    def signer(self) -> str:
        return self.id.partition("/")[0]


class Proposal(msgspec.Struct, frozen=True, array_like=True):
    """`time`: milliseconds since 1970; at execution it never goes back. No requests: lets timers fire."""

    time: int
    requests: tuple[Request, ...] = ()


Signatures = tuple[tuple[str, bytes], ...]
"""Signer (public key in hex) and signature, sorted by signer, each once."""


class Next(msgspec.Struct, frozen=True, array_like=True):
    """The epoch that begins after a checkpoint."""

    number: int
    since: int
    voters: tuple[str, ...]

    @classmethod
    def of(cls, epoch: Epoch) -> Next:
        return cls(epoch.number, epoch.since, epoch.voters)

    def epoch(self) -> Epoch:
        return Epoch(number=self.number, since=self.since, voters=self.voters)


# What is signed.


class PrePrepare(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """`digest` is that of the encoded proposal, which travels beside the statement."""

    view: int
    sequence: int
    digest: bytes


class Prepare(msgspec.Struct, frozen=True, array_like=True, tag=2):
    view: int
    sequence: int
    digest: bytes


class Commit(msgspec.Struct, frozen=True, array_like=True, tag=3):
    view: int
    sequence: int
    digest: bytes


class Checkpoint(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """`digest` of the state after `sequence`. `next` at the last sequence of an epoch only."""

    sequence: int
    digest: bytes
    next: Next | None = None


class CheckpointCertificate(msgspec.Struct, frozen=True, array_like=True):
    """A quorum of `epoch` has this state: a stable checkpoint."""

    epoch: int
    checkpoint: Checkpoint
    signatures: Signatures


class PreparedCertificate(msgspec.Struct, frozen=True, array_like=True):
    """PRE-PREPARE of the primary, and PREPARE of q-1 others."""

    view: int
    sequence: int
    digest: bytes
    preprepare: bytes
    """The primary's signature."""
    prepares: Signatures


class ViewChange(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """`stable` is None as long as no checkpoint of this epoch is: all who are in it have the boundary before it.
    `prepared` by sequence, each once, the one of the highest view."""

    view: int
    stable: CheckpointCertificate | None
    prepared: tuple[PreparedCertificate, ...]


class NewView(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """`changes`: V, VIEW-CHANGE statements of a quorum, by signer. `proposals`: O, a PRE-PREPARE for each sequence
    from the highest stable checkpoint in V to the highest prepared sequence in V."""

    view: int
    changes: tuple[Statement, ...]
    proposals: tuple[Statement, ...]


class Reply(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """REPLY to all requests of one client in one batch, executed and durable: never tentative."""

    view: int
    client: str
    results: tuple[tuple[str, bytes], ...]
    """Request id and result."""


Vote = PrePrepare | Prepare | Commit
Body = PrePrepare | Prepare | Commit | Checkpoint | ViewChange | NewView | Reply


class CommitCertificate(msgspec.Struct, frozen=True, array_like=True):
    """COMMIT of a quorum of `epoch`: whoever has this and the proposal needs to trust nobody."""

    epoch: int
    view: int
    sequence: int
    digest: bytes
    signatures: Signatures


class Decided(msgspec.Struct, frozen=True, array_like=True):
    """A decision that proves itself. `proposal` is encoded."""

    certificate: CommitCertificate
    proposal: bytes


class Boundary(msgspec.Struct, frozen=True, array_like=True):
    """The certified checkpoint before an epoch, which names it: a link of the chain from the first epoch."""

    certificate: CheckpointCertificate


class Evidence(msgspec.Struct, frozen=True, array_like=True):
    """Statements of one voter in one epoch that no honest one makes. `second` is None where one is enough."""

    epoch: int
    first: Statement
    second: Statement | None = None


# What travels.


class Said(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A statement. `attached`: the encoded proposal of a PRE-PREPARE."""

    epoch: int
    statement: Statement
    attached: bytes = b""


class Wish(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """A REQUEST on its way to the voters."""

    request: Request


class Status(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """STATUS: what its sender has. Who has more sends that. A hint, nothing is decided by it."""

    epoch: int
    view: int
    active: bool
    """Not between views."""
    stable: int
    executed: int
    lacking: tuple[int, ...] = ()
    """Sequences of the view whose proposal it does not have."""
    follows: bool = False
    """It wants to be told each decision from now on (a learner)."""
    answer: bool = False
    """It answers one, and is not answered."""
    asks: bool = False
    """It has just begun and knows of too few what they have: whoever has no more than it says so, too."""


class FetchBodies(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """FETCH-BODY: proposals by digest."""

    digests: tuple[bytes, ...]


class Bodies(msgspec.Struct, frozen=True, array_like=True, tag=5):
    proposals: tuple[bytes, ...]


class FetchDecided(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """From `first` on, as many as go into a message."""

    first: int


class Decisions(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """COMMIT-CERT, in order. Empty: `first` is not kept any more; `stable` tells from where a state can be had."""

    first: int
    decided: tuple[Decided, ...]
    stable: CheckpointCertificate | None = None


class Chain(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """Boundaries of epochs, in order, for who stands in an earlier epoch."""

    boundaries: tuple[Boundary, ...]


class Stable(msgspec.Struct, frozen=True, array_like=True, tag=9):
    certificate: CheckpointCertificate


class Accused(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """Evidence, passed on."""

    evidence: Evidence


class Recall(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """From a voter that has lost its votes: how far may I have gone?"""

    epoch: int
    above: int = -1
    """It knows, and nothing is missing but a view above this one: please begin one. -1: it asks."""


class Recalled(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """The answer: how far the others have."""

    epoch: int
    view: int
    stable: CheckpointCertificate | None


class Several(msgspec.Struct, frozen=True, array_like=True, tag=13):
    """Messages to one node that left in one turn, in their order; none of them is such a one."""

    messages: tuple[bytes, ...]


Packet = (
    Said | Wish | Status | FetchBodies | Bodies | FetchDecided | Decisions | Chain | Stable | Accused | Recall
    | Recalled | Several
)  # fmt: skip

_encoder = msgspec.msgpack.Encoder()
_packets = msgspec.msgpack.Decoder(Packet)
_bodies: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Body)
_proposals = msgspec.msgpack.Decoder(Proposal)


class Malformed(Exception):
    """What came cannot be read, or is beyond a limit."""


def encode(value: Any) -> bytes:
    return _encoder.encode(value)


def digest(data: bytes) -> bytes:
    """BLAKE2b-256."""
    return hashlib.blake2b(data, digest_size=32).digest()


NULL = encode(Proposal(0))
"""The null request of view changes: nothing happens, and time stands still."""
NULL_DIGEST = digest(NULL)


def decode(message: bytes) -> Packet:
    """Raises `Malformed`."""
    if len(message) > limits.MESSAGE_SIZE:
        raise Malformed("too large")
    try:
        packet: Packet = _packets.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(str(error)) from None
    return packet


def together(messages: Sequence[bytes]) -> Iterator[bytes]:
    """As few messages as hold all of these, for one node."""
    taken: list[bytes] = []
    size = 0
    for message in messages:
        if taken and (len(taken) >= limits.TOGETHER or size + len(message) > limits.TOGETHER_SIZE):
            yield _packed(taken)
            taken, size = [], 0
        taken.append(message)
        size += len(message)
    if taken:
        yield _packed(taken)


def _packed(messages: list[bytes]) -> bytes:
    return encode(Several(tuple(messages))) if len(messages) > 1 else messages[0]


def decode_body(statement: Statement) -> Body:
    """Raises `Malformed`. Only the one encoding counts."""
    try:
        body: Body = _bodies.decode(statement.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(str(error)) from None
    if encode(body) != statement.body:
        raise Malformed("not canonical")
    return body


def decode_proposal(data: bytes) -> Proposal:
    """Raises `Malformed`."""
    if len(data) > limits.PROPOSAL_SIZE:
        raise Malformed("too large")
    try:
        proposal = _proposals.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(str(error)) from None
    if len(proposal.requests) > limits.REQUESTS or encode(proposal) != data:
        raise Malformed("too many requests, or not canonical")
    return proposal


def for_client(message: bytes, *, alone: bool = True) -> bool:
    """Whether it is a REPLY, or has one in it, for a `Client` that runs beside no replica."""
    try:
        packet = decode(message)
        if isinstance(packet, Several):
            return alone and any(for_client(part, alone=False) for part in packet.messages[: limits.TOGETHER])
        return isinstance(packet, Said) and isinstance(decode_body(packet.statement), Reply)
    except Malformed:
        return False
