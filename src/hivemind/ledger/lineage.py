"""Ledger files as a whole: an empty one for a hive of its own, one that begins with a given state, reading one that
nobody has open. Blocking; for a thread, or a node that is stopped."""

from __future__ import annotations

from pathlib import Path

from hivemind.ledger import chain
from hivemind.ledger.log import Checkpoint, Log
from hivemind.ledger.replay import replay
from hivemind.state.state import State


def nothing(hive: str) -> tuple[bytes, bytes]:
    """Snapshot and head of an empty hive."""
    return State(hive).snapshot(), chain.GENESIS


def checkpoint_of(snapshot: bytes, head: bytes) -> Checkpoint:
    """Raises what `State.restore` does."""
    state = State.restore(snapshot)
    return Checkpoint(
        sequence=state.sequence, time=state.time, head=head, digest=state.digest(), snapshot=snapshot
    )


def written(path: Path, snapshot: bytes, head: bytes) -> None:
    """A new file that begins there; whatever was left at `path` goes."""
    log = fresh(path)
    try:
        log.checkpoint(checkpoint_of(snapshot, head))
    finally:
        log.close()


def fresh(path: Path) -> Log:
    for name in (path.name, path.name + "-wal"):
        path.with_name(name).unlink(missing_ok=True)
    return Log(path)


def read(path: Path) -> tuple[bytes, bytes]:
    """Snapshot and head at the end of the file. Raises `Corrupt`, `Unsupported`."""
    log = Log(path)
    try:
        found = replay(log, path, None)
    finally:
        log.close()
    return found.state.snapshot(), found.head


def alone(log: Log) -> None:
    """The node decides alone: whom it believed, what it voted for and what others certified means nothing any more."""
    tables = ("epoch", "record", "record_head", "proof")
    if any(log.read(f"SELECT 1 FROM {table} LIMIT 1") for table in tables):
        with log.transaction() as db:
            for table in tables:
                db.execute(f"DELETE FROM {table}")
