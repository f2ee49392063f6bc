"""What a machine must not forget: its votes above all. An ordered log in the ledger's file, written in the same
transactions as batches.

Each record carries a sum over the one before it and itself, and a page of its own knows the newest. SQLite drops a
torn transaction whole, and nothing behind it has left the node; anything else that does not add up means that votes
are lost, and who has lost votes must not vote: it could contradict itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from hivemind.errors import Corrupt
from hivemind.state.partition import hash32

_BEGIN = bytes(32)


class Kept(msgspec.Struct, frozen=True):
    """`replaces`: all earlier ones may go."""

    body: bytes
    replaces: bool = False


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """What is made durable in the transaction of a batch, or in one of its own."""

    records: Sequence[Kept] = ()
    certificate: bytes = b""
    """What proves the batch to others."""
    epochs: Sequence[tuple[int, bytes]] = ()
    """Links of the chain of epochs, by number."""

    def write(self, db: sqlite3.Connection) -> None:
        if self.records:
            keep(db, self.records)
        for number, body in self.epochs:
            db.execute("REPLACE INTO epoch VALUES (?, ?)", (number, body))


NOTHING = Beside()


def keep(db: sqlite3.Connection, records: Sequence[Kept]) -> None:
    """Within a transaction."""
    number, sum = _newest(db) or (0, _BEGIN)
    number = max(number, db.execute("SELECT coalesce(max(number), 0) FROM record").fetchone()[0])
    for record in records:
        if record.replaces:
            db.execute("DELETE FROM record")
            sum = _BEGIN
        number += 1
        sum = _sum(number, sum, record.body)
        db.execute("INSERT INTO record VALUES (?, ?, ?)", (number, record.body, sum))
    db.execute("REPLACE INTO record_head VALUES (0, ?, ?)", (number, sum))


def recall(db: sqlite3.Connection) -> list[bytes]:
    """In their order. Raises `Corrupt` when one of them is lost or damaged."""
    newest = _newest(db)
    sum, last, found = _BEGIN, None, []
    for number, body, noted in db.execute("SELECT number, body, sum FROM record ORDER BY number"):
        sum = _sum(number, sum, body)
        if sum != noted or (last is not None and number != last + 1):
            raise _lost(f"record {number} of the votes does not follow from the one before it")
        last = number
        found.append(body)
    if (newest or (None, _BEGIN)) != (last, sum):
        raise _lost("the newest votes are missing")
    return found


def _newest(db: sqlite3.Connection) -> tuple[int, bytes] | None:
    row: tuple[int, bytes] | None = db.execute("SELECT number, sum FROM record_head").fetchone()
    return row


def _sum(number: int, before: bytes, body: bytes) -> bytes:
    return hash32(b"hivemind/record/1", str(number).encode(), before, body)


def _lost(what: str) -> Corrupt:
    return Corrupt(
        what,
        hint="check its disk; this node follows the others, and votes again once what it may have voted for cannot"
        " matter any more",
    )
