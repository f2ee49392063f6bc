"""The ledger's file: batches, checkpoints and the head, in SQLite.

    batch       sequence, body (the encoded batch), hash (its link of the chain),
                before (digest of the state that it was applied to)
    checkpoint  sequence, time, head (the chain's at that sequence), digest (the state's), snapshot,
                checksum (over all of these)
    head        the one newest sequence and hash, in every transaction, on a page of its own
    certificate sequence, body: what proves to others that this batch was agreed
    record      number, body, sum (over the one before and this body): what a machine must not forget, see records.py
    record_head the newest number and sum
    epoch       number, body: the sets of voters since this node began to trust, see epochs.py
    proof       sequence, body: what proves to others that the checkpoint of that sequence was agreed

The state's digest after a batch is known only once the batch is durable, so each batch carries the digest of
the state before it, and a checkpoint carries its own: replay compares every one of them but the very last.
Nothing here knows an event loop: one thread at a time calls it, and every method may wait for the disk.

A file of an earlier format holds digests that came about by earlier rules. Its batches and its chain are as good
as ever, but what they add up to is for today's rules to say: it is replayed without comparing digests, and the
first checkpoint after that makes it a file of today's format, where older checkpoints have no place.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from hivemind.errors import Corrupt, Unavailable, Unsupported
from hivemind.ledger import chain, wal
from hivemind.ledger.contract import Batch
from hivemind.ledger.records import NOTHING, Beside, recall
from hivemind.model.base import UNREADABLE
from hivemind.state.partition import hash32
from hivemind.state.state import State

_logger = logging.getLogger(__name__)

FORMAT = 4
"""Raised with every release in which the tables below change, or the same batches add up to other records."""
_SEVERAL = 4
"""The format with which a hive could have several nodes."""
_APPLICATION = 0x48495645  # "HIVE"
_KEPT_CHECKPOINTS = 2
_SMALLEST = 512
"""Bytes. No SQLite file that holds anything is smaller."""
_TABLES = """
CREATE TABLE batch (sequence INTEGER PRIMARY KEY, body BLOB NOT NULL, hash BLOB NOT NULL,
                    before BLOB NOT NULL);
CREATE TABLE checkpoint (sequence INTEGER PRIMARY KEY, time INTEGER NOT NULL, head BLOB NOT NULL,
                         digest BLOB NOT NULL, snapshot BLOB NOT NULL, checksum BLOB NOT NULL);
CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 0), sequence INTEGER NOT NULL, hash BLOB NOT NULL);
"""
_OF_SEVERAL = """
CREATE TABLE IF NOT EXISTS certificate (sequence INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS record (number INTEGER PRIMARY KEY, body BLOB NOT NULL, sum BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS record_head (id INTEGER PRIMARY KEY CHECK (id = 0), number INTEGER NOT NULL,
                                        sum BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS epoch (number INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS proof (sequence INTEGER PRIMARY KEY, body BLOB NOT NULL);
"""
"""What only a hive of several nodes needs; a file of an earlier format gets these, too."""
_OLDEST = """
SELECT min(sequence) FROM (
    SELECT * FROM (SELECT sequence FROM checkpoint ORDER BY sequence DESC LIMIT 1 OFFSET ?)
    UNION SELECT max(sequence) FROM proof
) WHERE (SELECT count(*) FROM checkpoint) > 1
"""
"""Which checkpoint is the oldest one to keep: so many are, and the newest that others can check."""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    sequence: int
    time: int
    head: bytes
    digest: bytes
    snapshot: bytes

    @classmethod
    def of(cls, state: State, head: bytes) -> Checkpoint:
        return cls.made_later(state, head)()

    @classmethod
    def made_later(cls, state: State, head: bytes) -> Callable[[], Checkpoint]:
        """Of the state as it is now. What is returned does most of the work, in whatever thread calls it."""
        digest, picture = state.digest(), state.picture()
        return lambda: cls(
            sequence=picture.sequence,
            time=picture.time,
            head=head,
            digest=digest,
            snapshot=picture.encode(),
        )

    def checksum(self) -> bytes:
        numbers = f"{self.sequence} {self.time}".encode()
        return hash32(b"hivemind/checkpoint/1", numbers, self.head, self.digest, self.snapshot)


class Stored(msgspec.Struct, frozen=True):
    """A batch as it was found, its place in the chain verified."""

    batch: Batch
    hash: bytes
    before: bytes
    size: int


class Log:
    """An open ledger file. Raises `Corrupt` or `Unsupported` when it cannot be trusted or understood."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.format = FORMAT
        """Of the file, as it was found."""
        log = path.with_name(path.name + "-wal")
        if wal.damaged(log):
            self._corrupt("durable transactions lie behind a damaged part of its write-ahead log")
        if (_size(log) or _size(path)) and _size(path) < _SMALLEST:
            # SQLite would take it for a new file, throw the log away and begin anew.
            self._corrupt("its file is cut off at the front")
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
        except BaseException as error:
            self._db.close()
            if isinstance(error, sqlite3.Error):
                self._translate(error)
            raise

    def _prepare(self) -> None:
        # Nobody else opens this file (see lock.py): exclusive mode needs no shared-memory file, which a full
        # disk could turn into a SIGBUS.
        for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL", "cache_size=-512",
                       "wal_autocheckpoint=256", "journal_size_limit=4194304", "cell_size_check=ON"):  # fmt: skip
            self._db.execute(f"PRAGMA {pragma}")
        application = self._db.execute("PRAGMA application_id").fetchone()[0]
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        tables = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if not tables and not version:
            self._db.executescript(
                f"BEGIN; PRAGMA application_id={_APPLICATION}; PRAGMA user_version={FORMAT};"
                f" {_TABLES}{_OF_SEVERAL}COMMIT;"
            )
        elif application != _APPLICATION:
            self._corrupt("it is not a ledger of Hivemind")
        elif version > FORMAT:
            raise Unsupported(
                f"{self._path} was written by a newer Hivemind (format {version}, this one knows {FORMAT})",
                hint="install that version again, or a newer one",
            )
        else:
            self.format = version

    @property
    def earlier(self) -> bool:
        """Whether it is of an earlier format."""
        return self.format < FORMAT

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Durable as a whole when it ends. Raises `Unavailable` when the disk is full; then nothing was written."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._abort(error)
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def append(self, batch: Batch, body: bytes, before: bytes, beside: Beside = NOTHING) -> None:
        """Durable when it returns, together with what belongs `beside` it. Raises `Unavailable` when the disk is
        full; then nothing was written."""
        hash = chain.link(body)
        with self.transaction() as db:
            beside.write(db)
            db.execute("INSERT INTO batch VALUES (?, ?, ?, ?)", (batch.sequence, body, hash, before))
            db.execute("REPLACE INTO head VALUES (0, ?, ?)", (batch.sequence, hash))
            if beside.certificate:
                db.execute("INSERT INTO certificate VALUES (?, ?)", (batch.sequence, beside.certificate))

    def keep(self, beside: Beside) -> None:
        """As `append`, while there is no batch."""
        with self.transaction() as db:
            beside.write(db)

    def install(self, checkpoint: Checkpoint, proof: bytes) -> None:
        """In place of all batches and checkpoints: a state that others have certified. Durable when it returns."""
        with self.transaction() as db:
            for table in ("batch", "certificate", "checkpoint", "proof", "head"):
                db.execute(f"DELETE FROM {table}")
            self._put(db, checkpoint)
            if proof:
                db.execute("INSERT INTO proof VALUES (?, ?)", (checkpoint.sequence, proof))

    def prove(self, sequence: int, proof: bytes) -> bool:
        """Keeps what proves the checkpoint of that sequence; whether there is one."""
        with self.transaction() as db:
            found = db.execute("SELECT 1 FROM checkpoint WHERE sequence = ?", (sequence,)).fetchone()
            if found:
                db.execute("REPLACE INTO proof VALUES (?, ?)", (sequence, proof))
        return found is not None

    def proven(self) -> tuple[Checkpoint, bytes] | None:
        """The newest checkpoint that others can check, with its proof."""
        proofs = dict(self.read("SELECT sequence, body FROM proof"))
        for checkpoint in self.checkpoints():
            if checkpoint.sequence in proofs:
                return checkpoint, proofs[checkpoint.sequence]
        return None

    def read(self, query: str, *arguments: object) -> list[Any]:
        """May be called from any thread, for what is durable."""
        try:
            return self._db.execute(query, arguments).fetchall()
        except sqlite3.Error as error:
            self._translate(error)

    def recall(self) -> list[bytes]:
        """A machine's records. Raises `Corrupt` when some are lost, and these alone."""
        try:
            return recall(self._db)
        except sqlite3.Error as error:
            self._translate(error)

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Durable when it returns; batches that only forgotten checkpoints needed are deleted with them."""
        kept = 1 if self.earlier else _KEPT_CHECKPOINTS
        with self.transaction() as db:
            self._put(db, checkpoint)
            if self.earlier:
                self._becomes_todays(db)
            oldest = db.execute(_OLDEST, (kept - 1,)).fetchone()[0]
            if oldest is not None:
                db.execute("DELETE FROM checkpoint WHERE sequence < ?", (oldest,))
                for table in ("batch", "certificate"):
                    db.execute(f"DELETE FROM {table} WHERE sequence <= ?", (oldest,))
                db.execute("DELETE FROM proof WHERE sequence < ?", (oldest,))
        self.format = FORMAT

    def _put(self, db: sqlite3.Connection, checkpoint: Checkpoint) -> None:
        row = (*msgspec.structs.astuple(checkpoint), checkpoint.checksum())
        db.execute("REPLACE INTO checkpoint VALUES (?, ?, ?, ?, ?, ?)", row)
        db.execute("INSERT OR IGNORE INTO head VALUES (0, ?, ?)", (checkpoint.sequence, checkpoint.head))

    def _becomes_todays(self, db: sqlite3.Connection) -> None:
        if self.format < _SEVERAL:
            for statement in _OF_SEVERAL.split(";"):
                db.execute(statement)
        db.execute("DELETE FROM proof")  # of states as earlier rules had them
        db.execute(f"PRAGMA user_version={FORMAT}")

    def head(self) -> tuple[int, bytes] | None:
        """The newest sequence and the chain's hash there; None for a new file."""
        try:
            row: tuple[int, bytes] | None = self._db.execute("SELECT sequence, hash FROM head").fetchone()
        except sqlite3.Error as error:
            self._translate(error)
        return row

    def checkpoints(self) -> Iterator[Checkpoint]:
        """Newest first; those that do not match their checksum are passed over with a warning."""
        try:
            for row in self._db.execute("SELECT * FROM checkpoint ORDER BY sequence DESC"):
                sequence, time, head, digest, snapshot, checksum = row
                checkpoint = Checkpoint(
                    sequence=sequence, time=time, head=head, digest=digest, snapshot=snapshot
                )
                if checkpoint.checksum() == checksum:
                    yield checkpoint
                else:
                    _logger.warning("checkpoint %s of %s does not match its checksum", row[0], self._path)
        except sqlite3.Error as error:
            self._translate(error)

    def batches(self) -> Iterator[Stored]:
        """Those that are kept, oldest first, each verified against the one before, the last with the head."""
        last: Stored | None = None
        try:
            for sequence, body, hash, before in self._db.execute("SELECT * FROM batch ORDER BY sequence"):
                last = self._verified(sequence, body, hash, before, last)
                yield last
        except sqlite3.Error as error:
            self._translate(error)
        if last and self.head() != (last.batch.sequence, last.hash):
            self._corrupt(f"its newest batches, after {last.batch.sequence}, are missing")

    def _verified(
        self, sequence: int, body: bytes, hash: bytes, before: bytes, last: Stored | None
    ) -> Stored:
        if not isinstance(body, bytes) or chain.link(body) != hash:
            self._corrupt(f"batch {sequence} does not match its hash")
        try:
            batch = chain.decode(body)
        except UNREADABLE as error:
            self._corrupt(f"batch {sequence} cannot be read: {error}")
        if batch.sequence != sequence or (last and sequence != last.batch.sequence + 1):
            self._corrupt(f"batches are missing before {sequence}")
        if last and (batch.previous != last.hash or batch.time < last.batch.time):
            self._corrupt(f"batch {sequence} does not follow from the one before it")
        return Stored(batch, hash, before, len(body))

    def close(self) -> None:
        self._db.close()

    def _abort(self, error: sqlite3.Error) -> NoReturn:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        self._translate(error)

    def _translate(self, error: sqlite3.Error) -> NoReturn:
        kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if kind in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
            self._corrupt(str(error))
        if kind == sqlite3.SQLITE_FULL:
            raise Unavailable(
                f"the disk that holds {self._path} is full: nothing can be agreed",
                hint="free some space there and try again; nothing that was accepted is lost",
            ) from error
        if kind == sqlite3.SQLITE_BUSY:
            raise Unavailable(
                f"another program has {self._path} open",
                hint=f"end it and try again; `fuser {self._path}` tells which one it is",
            ) from error
        raise Unavailable(
            f"cannot use {self._path}: {error}",
            hint="check the disk and the permissions of the data directory",
        ) from error

    def _corrupt(self, what: str) -> NoReturn:
        raise corrupt(self._path, what)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def corrupt(path: Path, what: str) -> Corrupt:
    return Corrupt(
        f"the ledger {path} is damaged: {what}",
        hint=f"check the disk; restore {path.parent} from a backup, or move it away to start an empty hive",
    )
