"""Makes a store as the format before had it."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

import msgspec

from hivemind.security.identity import Identity

_DOMAIN = b"hivemind/store/1"


def make(path: Path, identity: Identity, entries: list[tuple[str, bytes | None]]) -> None:
    """One group for each entry."""
    db = sqlite3.connect(path)
    db.executescript(
        """
        PRAGMA application_id=1212765779; PRAGMA user_version=1;
        CREATE TABLE base (id INTEGER PRIMARY KEY CHECK (id = 0), sequence INTEGER NOT NULL, root BLOB NOT NULL,
                           hash BLOB NOT NULL, signature BLOB NOT NULL);
        CREATE TABLE entry (sequence INTEGER PRIMARY KEY, body BLOB NOT NULL);
        CREATE TABLE head (sequence INTEGER PRIMARY KEY, hash BLOB NOT NULL, signature BLOB NOT NULL);
        """
    )
    hash = bytes(32)
    for sequence, (key, value) in enumerate(entries, 1):
        body = msgspec.msgpack.encode((sequence, key, value, 1))
        hash = hashlib.blake2b(hash + body, digest_size=32, person=_DOMAIN).digest()
        signature = identity.sign(b"\0".join((_DOMAIN, b"head", sequence.to_bytes(8, "big"), hash)))
        db.execute("INSERT INTO entry VALUES (?, ?)", (sequence, body))
        db.execute("INSERT INTO head VALUES (?, ?, ?)", (sequence, hash, signature))
    db.commit()
    db.close()
