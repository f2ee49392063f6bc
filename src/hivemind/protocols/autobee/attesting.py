"""Certified checkpoints of logs: what a quorum of the hive's voters has of a writer, with the same root.

Voters are never at the same length of a log that grows. But the peaks of a length are, from the largest on, also those
of shorter ones, down to the power of two; so each voter attests all of these prefixes, and two that are not far apart
have some in common. A prefix that a quorum attests is final: no writer can make anyone believe another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from hivemind.protocols.autobee.tree import Peaks

GRAIN = 8
"""Prefixes end at multiples of 2 to this power: what is shorter is not worth a word."""
_MOST = 8
Mark = tuple[int, bytes]
"""A length, and the root of the log at that length."""


class Attested(msgspec.Struct, frozen=True, array_like=True):
    """What a voter has of a log."""

    writer: str
    fork: int
    marks: tuple[Mark, ...]


class Certified(msgspec.Struct, frozen=True, array_like=True):
    """What a quorum has of a log."""

    writer: str
    fork: int
    length: int
    root: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[Attested, ...]).decode


def encode_attested(attested: Iterable[Attested]) -> bytes:
    return _encode(tuple(attested))


def decode_attested(data: bytes) -> tuple[Attested, ...]:
    """Nothing, when it cannot be read."""
    try:
        return _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ()


def marks(peaks: Peaks, grain: int = GRAIN) -> tuple[Mark, ...]:
    """Of the prefixes that can be attested, the longest last; of very many the ends."""
    found = [(length, root) for length, root in peaks.prefixes() if not length & ((1 << grain) - 1)]
    return tuple(found if len(found) <= _MOST else found[: _MOST // 2] + found[-_MOST // 2 :])


def certified(attested: Mapping[str, Iterable[Attested]], quorum: int) -> tuple[Certified, ...]:
    """By voter what each attests -> of each writer the newest that so many of them do."""
    voters: dict[Certified, set[str]] = {}
    for voter, logs in attested.items():
        for log in logs:
            for length, root in log.marks:
                voters.setdefault(Certified(log.writer, log.fork, length, root), set()).add(voter)
    best: dict[str, Certified] = {}
    for each in sorted(voters, key=lambda c: (c.writer, c.fork, c.length, c.root)):
        if len(voters[each]) >= quorum:
            best[each.writer] = each
    return tuple(best.values())
