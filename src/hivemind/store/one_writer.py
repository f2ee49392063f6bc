"""Reading a store of the format before: one writer's entries in a hash chain, and the heads that it signed.

base   sequence, root, hash, signature: everything up to there was compacted. `root` chains the live entries
       that were left, `hash` is the head of the whole chain at that point
entry  sequence, body (MessagePack of sequence, key, value, time)
head   sequence, hash, signature: one for each group that was flushed together
"""

from __future__ import annotations

import hashlib
import sqlite3

import msgspec

from hivemind.protocols.autobee.entry import Entry
from hivemind.security.identity import verify

_EMPTY = bytes(32)
_DOMAIN = b"hivemind/store/1"


class _Body(msgspec.Struct, frozen=True, array_like=True):
    sequence: int
    key: str
    value: bytes | None
    time: int


_decode = msgspec.msgpack.Decoder(_Body).decode


def latest_entries(db: sqlite3.Connection, writer: str) -> list[Entry] | str:
    """What lived, in the order of its writing; or what is damaged. An unproven last group is left out."""
    sequence, root, hash, signature = db.execute(
        "SELECT sequence, root, hash, signature FROM base"
    ).fetchone() or (0, _EMPTY, _EMPTY, b"")
    bodies = db.execute("SELECT sequence, body FROM entry ORDER BY sequence").fetchall()
    if sequence and not _signed(writer, b"base", sequence, root + hash, signature):
        return "the signature of its base does not match"
    at, found = 0, _EMPTY
    while at < len(bodies) and bodies[at][0] <= sequence:
        found = _link(found, bodies[at][1])
        at += 1
    if found != root:
        return "the entries before its base do not match their signature"
    heads = db.execute("SELECT sequence, hash, signature FROM head ORDER BY sequence").fetchall()
    for index, (end, claimed, signature) in enumerate(heads):
        found, until = hash, at
        while until < len(bodies) and bodies[until][0] <= end:
            found = _link(found, bodies[until][1])
            until += 1
        if found != claimed or not _signed(writer, b"head", end, claimed, signature):
            if index < len(heads) - 1:
                return f"entries before {end} do not match their signature"
            break
        hash, at = claimed, until
    latest: dict[str, Entry] = {}
    for _, data in bodies[:at]:
        body = _decode(data)
        latest.pop(body.key, None)
        if body.value is not None:
            latest[body.key] = Entry(body.key, body.value, writer, body.sequence, body.time)
    return list(latest.values())


def _link(previous: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(previous + body, digest_size=32, person=_DOMAIN).digest()


def _signed(writer: str, what: bytes, sequence: int, digest: bytes, signature: bytes) -> bool:
    return verify(writer, b"\0".join((_DOMAIN, what, sequence.to_bytes(8, "big"), digest)), signature)
