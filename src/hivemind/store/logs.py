"""All writers' logs on disk, in one SQLite file.

    about   the hive for which they are signed, and whose file this is
    log     writer, signed head, the head before it, nodes behind the last piece, acknowledgement, evidence
    piece   log, start, level, data: bodies, and nodes for what was cleared (see `protocols.autobee.log`)

What is written together is in the file whole or not at all, and synced: a signed head that was sent must never be
forgotten. A damaged last group of the own log is dropped, aloud, and the log begins anew under a higher fork, as
others may have seen what was lost. Damage before it is refused. Of others a damaged log is fetched again.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import msgspec

from hivemind.errors import Corrupt, Unavailable, Unsupported
from hivemind.protocols.autobee.entry import Ack, Entry, Head, Notary, decode_body, entry_of, read
from hivemind.protocols.autobee.log import BODY, Piece, cleared, cost, fold, refined
from hivemind.protocols.autobee.steps import Convict, Drop, Note, Refine, Restored, Store
from hivemind.protocols.autobee.tree import Peaks
from hivemind.security.identity import Identity, verify
from hivemind.security.statement import Statement
from hivemind.store.one_writer import latest_entries

_logger = logging.getLogger(__name__)
SCHEMA = 2
_APPLICATION = 0x48495653  # "HIVS"
_TABLES = (
    "CREATE TABLE about (id INTEGER PRIMARY KEY CHECK (id = 0), owner TEXT NOT NULL, hive TEXT NOT NULL)",
    "CREATE TABLE log (id INTEGER PRIMARY KEY, writer TEXT NOT NULL UNIQUE, head BLOB, earlier BLOB, behind BLOB,"
    " ack BLOB, evidence BLOB)",
    "CREATE TABLE piece (log INTEGER NOT NULL, start INTEGER NOT NULL, level INTEGER NOT NULL,"
    " data BLOB NOT NULL, PRIMARY KEY (log, start)) WITHOUT ROWID",
)
_encode = msgspec.msgpack.Encoder().encode
_statement = msgspec.msgpack.Decoder(Statement).decode
_pieces = msgspec.msgpack.Decoder(tuple[Piece, ...]).decode
DiskEffect = Store | Refine | Note | Drop | Convict


class Logs:
    """An open file. Not for two threads at a time; every method may wait for the disk."""

    def __init__(self, path: Path, identity: Identity, hive: str) -> None:
        """`hive`: for which a new file is signed."""
        self._path, self._identity = path, identity
        self.hive = hive
        """For which the logs are signed."""
        self.lost = False
        """The end of the own log was damaged: it must begin anew."""
        self.bodies: Counter[str] = Counter()
        """Writer -> entries of its log that are kept, living or not."""
        self.old_format = False
        self.inherited: list[Entry] = []
        """What a file of the format before had, to be written again by `convert`."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(hive)
            self.restored = self._load()
            """What the file had when it was opened; whoever takes it sets it to nothing."""
        except BaseException as error:
            self._db.close()
            if isinstance(error, sqlite3.Error):
                self._translate(error)
            raise

    def _prepare(self, hive: str) -> None:
        for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL", "cache_size=-512",
                       "journal_size_limit=4194304"):  # fmt: skip
            self._db.execute(f"PRAGMA {pragma}")
        application = self._db.execute("PRAGMA application_id").fetchone()[0]
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if not version and not self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            self._db.execute("BEGIN IMMEDIATE")
            self._found(hive)
            self._db.execute("COMMIT")
        elif application != _APPLICATION:
            self._corrupt("it is not a store of Hivemind")
        elif version > SCHEMA:
            raise Unsupported(
                f"{self._path} was written by a newer Hivemind (format {version}, this one knows {SCHEMA})",
                hint="install that version again, or a newer one",
            )
        elif version == 1:
            found = latest_entries(self._db, self._identity.public)
            if isinstance(found, str):
                self._corrupt(found)
            self.inherited, self.old_format = found, True
            return
        owner, self.hive = self._db.execute("SELECT owner, hive FROM about").fetchone() or ("", "")
        if owner != self._identity.public:
            self._corrupt("it belongs to another node")

    def _found(self, hive: str) -> None:
        """The tables of this format; within a transaction."""
        for statement in (
            f"PRAGMA application_id={_APPLICATION}",
            f"PRAGMA user_version={SCHEMA}",
            *_TABLES,
        ):
            self._db.execute(statement)
        self._db.execute("INSERT INTO about VALUES (0, ?, ?)", (self._identity.public, hive))

    # -- reading ---------------------------------------------------------------------------------------------

    def _load(self) -> list[Restored]:
        if self.old_format:
            return []
        found = []
        for (writer,) in self._db.execute("SELECT writer FROM log ORDER BY writer").fetchall():
            try:
                kept = self.kept(writer)
                sound = kept is not None and self._sound(kept)
            except (msgspec.MsgspecError, ValueError, TypeError):
                kept, sound = None, False
            if kept is None or not sound:
                kept = self._saved(writer)
            if kept is not None:
                found.append(kept)
                self.bodies[writer] = sum(piece.level == BODY for piece in kept.pieces)
        return found

    def _sound(self, kept: Restored) -> bool:
        notary = Notary(self.hive, verify)
        if kept.evidence:
            return True
        if kept.ack is not None and not (isinstance(read(kept.ack), Ack) and notary.genuine(kept.ack)):
            return False
        if kept.head is None:
            return not kept.pieces
        said, peaks = read(kept.head), Peaks()
        whole = fold(peaks, kept.pieces) and fold(peaks, kept.behind)
        return (
            whole
            and isinstance(said, Head)
            and kept.head.signer == kept.writer
            and (peaks.length, peaks.root()) == (said.length, said.root)
            and notary.genuine(kept.head)
        )

    def _saved(self, writer: str) -> Restored | None:
        """Of a damaged log: the own one without its last group, nothing of another's."""
        if writer != self._identity.public:
            _logger.warning("the log of %s in %s is damaged, and is fetched again", writer[:8], self._path)
            self.write([Drop(writer)])
            return None
        row = self._db.execute("SELECT id, earlier, ack FROM log WHERE writer = ?", (writer,)).fetchone()
        try:
            head = _statement(row[1]) if row[1] else None
            ack = _statement(row[2]) if row[2] else None
            said = read(head) if head is not None else None
            length = said.length if isinstance(said, Head) else 0
            pieces = [piece for piece in self._read(row[0]) if piece.end <= length]
        except (msgspec.MsgspecError, ValueError, TypeError):
            self._corrupt("the node's own log cannot be read")
        kept = Restored(writer, pieces, head, (), ack)
        if head is None or not self._sound(kept):
            self._corrupt("the node's own log does not match its signature")
        _logger.warning(
            "the end of %s, after entry %d, is damaged and was dropped; it will be observed again",
            self._path,
            length,
        )
        self.lost = True
        return kept

    def kept(self, writer: str) -> Restored | None:
        row = self._db.execute(
            "SELECT id, head, behind, ack, evidence FROM log WHERE writer = ?", (writer,)
        ).fetchone()
        if row is None:
            return None
        id, head, behind, ack, evidence = row
        return Restored(
            writer,
            self._read(id),
            _statement(head) if head else None,
            _pieces(behind) if behind else (),
            _statement(ack) if ack else None,
            evidence or b"",
        )

    def _read(self, id: int) -> list[Piece]:
        rows = self._db.execute("SELECT start, level, data FROM piece WHERE log = ? ORDER BY start", (id,))
        return [Piece(*row) for row in rows]

    def entry(self, writer: str, sequence: int) -> Entry | None:
        """None: it was never there, or is cleared."""
        row = self._db.execute(
            "SELECT data FROM piece JOIN log ON log.id = piece.log WHERE writer = ? AND start = ? AND level = ?",
            (writer, sequence - 1, BODY),
        ).fetchone()
        body = decode_body(row[0], sequence) if row else None
        return entry_of(body, writer) if body is not None else None

    def history(self, prefix: str, limit: int, reverse: bool) -> list[Entry]:
        """Entries that are kept, superseded ones too, in the order that counts; the last `limit` when reversed."""
        found = []
        for writer, start, data in self._db.execute(
            "SELECT writer, start, data FROM piece JOIN log ON log.id = piece.log WHERE level = ?", (BODY,)
        ):
            body = decode_body(data, start + 1)
            if body is not None and body.key.startswith(prefix):
                found.append(entry_of(body, writer))
        found.sort(key=lambda entry: (entry.clock, entry.writer, entry.sequence), reverse=reverse)
        return found[:limit]

    # -- writing ---------------------------------------------------------------------------------------------

    def write(self, effects: Iterable[DiskEffect], hive: str = "") -> None:
        """All of it or nothing, synced. `hive`: for which everything is signed from now on. Raises `Unavailable`."""
        counted = self.bodies.copy()
        try:
            self._db.execute("BEGIN IMMEDIATE")
            if hive:
                self._db.execute("UPDATE about SET hive = ?", (hive,))
                self._db.execute("UPDATE log SET ack = NULL")  # promises to the nodes of another hive
            for effect in effects:
                self._write(effect)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self.bodies = counted
            self._abort(error)
        self.hive = hive or self.hive

    def _write(self, effect: DiskEffect) -> None:
        if isinstance(effect, Drop):
            self._db.execute(
                "DELETE FROM piece WHERE log = (SELECT id FROM log WHERE writer = ?)", (effect.writer,)
            )
            self._db.execute("DELETE FROM log WHERE writer = ?", (effect.writer,))
            del self.bodies[effect.writer]
            return
        id = self._id(effect.writer)
        match effect:
            case Store():
                if effect.whole:
                    self._db.execute("DELETE FROM piece WHERE log = ?", (id,))
                    self.bodies[effect.writer] = 0
                self._insert(id, effect.writer, effect.pieces)
                earlier = "NULL" if effect.whole else "head"
                self._db.execute(
                    f"UPDATE log SET earlier = {earlier}, head = ?, behind = ? WHERE id = ?",
                    (_encode(effect.head), _encode(effect.behind) if effect.behind else None, id),
                )
            case Note():
                self._db.execute("UPDATE log SET ack = ? WHERE id = ?", (_encode(effect.ack), id))
            case Convict():
                self._db.execute("UPDATE log SET evidence = ? WHERE id = ?", (effect.evidence, id))
            case Refine():
                self._replace(id, effect.writer, refined(self._read(id), effect.pieces))

    def _id(self, writer: str) -> int:
        self._db.execute("INSERT OR IGNORE INTO log (writer) VALUES (?)", (writer,))
        return int(self._db.execute("SELECT id FROM log WHERE writer = ?", (writer,)).fetchone()[0])

    def _insert(self, id: int, writer: str, pieces: Iterable[Piece]) -> None:
        rows = [(id, piece.start, piece.level, piece.data) for piece in pieces]
        self._db.executemany("INSERT INTO piece VALUES (?, ?, ?, ?)", rows)
        self.bodies[writer] += sum(row[2] == BODY for row in rows)

    def _replace(self, id: int, writer: str, pieces: list[Piece]) -> None:
        """Only rows that differ are touched."""
        old, new = set(self._read(id)), set(pieces)
        gone = [(id, piece.start) for piece in old - new]
        self._db.executemany("DELETE FROM piece WHERE log = ? AND start = ?", gone)
        self.bodies[writer] -= sum(piece.level == BODY for piece in old - new)
        self._insert(id, writer, [piece for piece in pieces if piece not in old])

    def clear(self, writer: str, upto: int, keep: frozenset[int]) -> int:
        """Takes out the bodies up to that sequence that need not be kept; returns how many bytes are left."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            id = self._id(writer)
            pieces = cleared(self._read(id), lambda sequence: sequence > upto or sequence in keep)
            self._replace(id, writer, pieces)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._abort(error)
        return cost(pieces)

    def convert(self, effects: Iterable[DiskEffect]) -> None:
        """Ends a file of the format before: instead of what it had, which was `inherited`, it has what is written."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for table in ("base", "entry", "head"):
                self._db.execute(f"DROP TABLE {table}")
            self._found(self.hive)
            for effect in effects:
                self._write(effect)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._abort(error)
        self.inherited, self.old_format = [], False

    def close(self) -> None:
        self._db.close()

    # -- what goes wrong -------------------------------------------------------------------------------------

    def _abort(self, error: sqlite3.Error) -> NoReturn:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        self._translate(error)

    def _translate(self, error: sqlite3.Error) -> NoReturn:
        kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if kind in (0, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
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
