"""A writer's own log on disk: entries in a hash chain whose heads it signs.

    base   sequence, root, hash, signature: everything up to there was compacted. `root` chains the live
           entries that were left, `hash` is the head of the whole chain at that point
    entry  sequence, body (MessagePack of sequence, key, value, time)
    head   sequence, hash, signature: one for each group that was flushed together

Compaction deletes superseded entries, which would break the chain; so it signs a new base over what is left.
A damaged last group is dropped, aloud: what it said can be observed again. Damage before it is refused.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import msgspec

from hivemind.errors import Corrupt, Unavailable, Unsupported
from hivemind.security.identity import Identity, verify
from hivemind.store.contract import Entry

_logger = logging.getLogger(__name__)
SCHEMA = 1
_APPLICATION = 0x48495653  # "HIVS"
_EMPTY = bytes(32)
_DOMAIN = b"hivemind/store/1"
_TABLES = """
CREATE TABLE base (id INTEGER PRIMARY KEY CHECK (id = 0), sequence INTEGER NOT NULL, root BLOB NOT NULL,
                   hash BLOB NOT NULL, signature BLOB NOT NULL);
CREATE TABLE entry (sequence INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE head (sequence INTEGER PRIMARY KEY, hash BLOB NOT NULL, signature BLOB NOT NULL);
"""


class Body(msgspec.Struct, frozen=True, array_like=True):
    """What is stored, and what the chain covers."""

    sequence: int
    key: str
    value: bytes | None
    time: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Body).decode


def _link(previous: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(previous + body, digest_size=32, person=b"hivemind/store/1").digest()


class Log:
    """An open log file. Not for two threads at a time; every method may wait for the disk."""

    def __init__(self, path: Path, identity: Identity) -> None:
        self._path, self._identity = path, identity
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
            self.latest, self.rows = self._load()
            """The newest entry of each key, deletions too, and how many entries the file holds."""
        except BaseException as error:
            self._db.close()
            if isinstance(error, sqlite3.Error):
                self._translate(error)
            raise

    def _prepare(self) -> None:
        for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=NORMAL", "cache_size=-512",
                       "journal_size_limit=4194304"):  # fmt: skip
            self._db.execute(f"PRAGMA {pragma}")
        application = self._db.execute("PRAGMA application_id").fetchone()[0]
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if not version and not self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            self._db.executescript(
                f"BEGIN; PRAGMA application_id={_APPLICATION}; PRAGMA user_version={SCHEMA}; {_TABLES}COMMIT;"
            )
        elif application != _APPLICATION:
            self._corrupt("it is not a store of Hivemind")
        elif version > SCHEMA:
            raise Unsupported(
                f"{self._path} was written by a newer Hivemind (format {version}, this one knows {SCHEMA})",
                hint="install that version again, or a newer one",
            )

    # -- reading ---------------------------------------------------------------------------------------------

    def _load(self) -> tuple[dict[str, Entry], int]:
        """Verifies the base, then every group up to the last head."""
        self.sequence, root, self._hash = self._read_base()
        bodies = self._db.execute("SELECT sequence, body FROM entry ORDER BY sequence").fetchall()
        kept = sum(1 for sequence, _ in bodies if sequence <= self.sequence)
        found = _EMPTY
        for _, body in bodies[:kept]:
            found = _link(found, body)
        if found != root:
            self._corrupt("the entries before its base do not match their signature")
        end = self._verify_groups(bodies, kept)
        entries = [self._entry(sequence, body) for sequence, body in bodies[:end]]
        return {entry.key: entry for entry in entries}, end

    def _read_base(self) -> tuple[int, bytes, bytes]:
        row = self._db.execute("SELECT sequence, root, hash, signature FROM base").fetchone()
        if row is None:
            return 0, _EMPTY, _EMPTY
        sequence, root, hash, signature = row
        if not self._signed(b"base", sequence, root + hash, signature):
            self._corrupt("the signature of its base does not match")
        return sequence, root, hash

    def _verify_groups(self, bodies: list[tuple[int, bytes]], at: int) -> int:
        """How many of the `bodies` are proven; the damaged or unsigned rest is deleted if it is the tail."""
        heads = self._db.execute("SELECT * FROM head ORDER BY sequence").fetchall()
        for index, (sequence, hash, signature) in enumerate(heads):
            found, end = self._hash, at
            while end < len(bodies) and bodies[end][0] <= sequence:
                found = _link(found, bodies[end][1])
                end += 1
            if found != hash or not self._signed(b"head", sequence, hash, signature):
                if index < len(heads) - 1:
                    self._corrupt(f"entries before {sequence} do not match their signature")
                break
            self._hash, self.sequence, at = hash, sequence, end
        if at < len(bodies) or (heads and heads[-1][0] > self.sequence):
            self._drop_tail()
        return at

    def _drop_tail(self) -> None:
        _logger.warning(
            "the end of %s, after entry %d, is damaged and was dropped; it will be observed again",
            self._path,
            self.sequence,
        )
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("DELETE FROM entry WHERE sequence > ?", (self.sequence,))
        self._db.execute("DELETE FROM head WHERE sequence > ?", (self.sequence,))
        self._db.execute("COMMIT")

    def _entry(self, sequence: int, body: bytes) -> Entry:
        said = _decode(body)
        if said.sequence != sequence:
            self._corrupt(f"entry {sequence} stands in the wrong place")
        return Entry(said.key, said.value, self._identity.public, said.sequence, said.time)

    # -- writing ---------------------------------------------------------------------------------------------

    def append(self, entries: Iterable[Entry]) -> None:
        """One group: all of it or nothing. Raises `Unavailable` when it could not be written."""
        hash, sequence, rows = self._hash, self.sequence, []
        for entry in entries:
            body = _encode(Body(entry.sequence, entry.key, entry.value, entry.time))
            hash, sequence = _link(hash, body), entry.sequence
            rows.append((sequence, body))
        signature = self._sign(b"head", sequence, hash)
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT INTO entry VALUES (?, ?)", rows)
            self._db.execute("INSERT INTO head VALUES (?, ?, ?)", (sequence, hash, signature))
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._abort(error)
        self._hash, self.sequence = hash, sequence
        self.rows += len(rows)

    def compact(self, live: list[int]) -> None:
        """Keeps only the entries with the sequences `live`, which are ascending and already written."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("CREATE TEMP TABLE IF NOT EXISTS live (sequence INTEGER PRIMARY KEY)")
            self._db.execute("DELETE FROM live")
            self._db.executemany("INSERT INTO live VALUES (?)", ((sequence,) for sequence in live))
            self._db.execute("DELETE FROM entry WHERE sequence NOT IN live")
            root = _EMPTY
            for (body,) in self._db.execute("SELECT body FROM entry ORDER BY sequence"):
                root = _link(root, body)
            signature = self._sign(b"base", self.sequence, root + self._hash)
            self._db.execute(
                "REPLACE INTO base VALUES (0, ?, ?, ?, ?)", (self.sequence, root, self._hash, signature)
            )
            self._db.execute("DELETE FROM head")
            self._db.execute("DELETE FROM live")
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._abort(error)
        self.rows = len(live)

    def close(self) -> None:
        self._db.close()

    def _sign(self, what: bytes, sequence: int, digest: bytes) -> bytes:
        return self._identity.sign(_covered(what, sequence, digest))

    def _signed(self, what: bytes, sequence: int, digest: bytes, signature: bytes) -> bool:
        return verify(self._identity.public, _covered(what, sequence, digest), signature)

    def _abort(self, error: sqlite3.Error) -> NoReturn:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        self._translate(error)

    def _translate(self, error: sqlite3.Error) -> NoReturn:
        kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if kind in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
            self._corrupt(str(error))
        raise Unavailable(
            f"cannot write observations to {self._path}: {error}",
            hint="free some space on that disk and check the permissions of the data directory",
        ) from error

    def _corrupt(self, what: str) -> NoReturn:
        raise Corrupt(
            f"the store {self._path} is damaged: {what}",
            hint=f"check the disk, then move {self._path} away: observations are made again, only events are lost",
        )


def _covered(what: bytes, sequence: int, digest: bytes) -> bytes:
    """`what` tells heads from bases; all have the same length, so nothing can be taken for another."""
    return b"\0".join((_DOMAIN, what, sequence.to_bytes(8, "big"), digest))
