"""From the file to the state: the newest checkpoint that can be trusted, and every batch after it."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from hivemind.errors import Conflict, Corrupt, HivemindError
from hivemind.ledger import chain
from hivemind.ledger.contract import Batch
from hivemind.ledger.log import Checkpoint, Log, corrupt
from hivemind.model.base import UNREADABLE
from hivemind.state.operations import decode_operation
from hivemind.state.state import Signed, State

_logger = logging.getLogger(__name__)
_PERMISSIONS = 2
"""The format with which projects got permissions."""


class Replayed(msgspec.Struct):
    """Where a ledger stands. `batches` and `size` (bytes) count what came after the newest checkpoint."""

    state: State
    head: bytes
    batches: int = 0
    size: int = 0
    snapshot: int = 0
    """Bytes of the newest checkpoint's."""


def replay(log: Log, path: Path, hive: str | None) -> Replayed:
    """`hive`: whose ledger it has to be, and whose a new one becomes; None: whichever is there. Raises
    `Corrupt` when a batch or every checkpoint is damaged, `Conflict` for another hive's file."""
    newest = log.head()
    if newest is None:
        return _begin(log, path, hive)
    checkpoint, state = _newest_sound(log, path)
    if hive is not None and state.hive != hive:
        raise Conflict(
            f"{path} belongs to the hive {state.hive}, not to {hive}",
            hint="give the data directory of this hive",
        )
    found = Replayed(state, checkpoint.head, snapshot=len(checkpoint.snapshot))
    state.before_permissions = log.format < _PERMISSIONS
    for stored in log.batches():
        if stored.batch.sequence == checkpoint.sequence and stored.hash != checkpoint.head:
            raise corrupt(path, f"checkpoint {checkpoint.sequence} and the batches disagree")
        if stored.batch.sequence <= checkpoint.sequence:
            continue
        if stored.batch.previous != found.head:
            raise corrupt(
                path, f"batch {stored.batch.sequence} does not follow from checkpoint {checkpoint.sequence}"
            )
        if not log.earlier and stored.before != state.digest():
            raise _diverged(path, stored.batch.sequence, "gives another state before it than was recorded")
        try:
            operations = signed(stored.batch)
        except UNREADABLE as error:
            raise _diverged(path, stored.batch.sequence, f"cannot read an operation: {error}") from None
        state.apply(stored.batch.sequence, stored.batch.time, operations)
        found.head = stored.hash
        found.batches += 1
        found.size += stored.size
    state.before_permissions = False
    if newest != (state.sequence, found.head):
        raise corrupt(path, f"its newest batches, {state.sequence + 1} to {newest[0]}, are missing")
    return found


def signed(batch: Batch) -> list[Signed]:
    """The operations of a batch whose envelopes were checked when they were accepted."""
    return [Signed(e.signer, e.nonce, decode_operation(e.payload), e.since) for e in batch.envelopes]


def _begin(log: Log, path: Path, hive: str | None) -> Replayed:
    """A new ledger is a checkpoint of the empty state."""
    if hive is None:
        raise corrupt(path, "there is nothing in it")
    if next(log.checkpoints(), None) or next(log.batches(), None):
        raise corrupt(path, "its head is missing")
    state = State(hive)
    log.checkpoint(Checkpoint.of(state, chain.GENESIS))
    return Replayed(state, chain.GENESIS)


def _newest_sound(log: Log, path: Path) -> tuple[Checkpoint, State]:
    for checkpoint in log.checkpoints():
        state = _restored(checkpoint, by_these_rules=not log.earlier)
        if state:
            return checkpoint, state
        _logger.warning(
            "checkpoint %d of %s is damaged; falling back to the one before it", checkpoint.sequence, path
        )
    raise corrupt(path, "no checkpoint can be trusted")


def _restored(checkpoint: Checkpoint, *, by_these_rules: bool) -> State | None:
    try:
        state = State.restore(checkpoint.snapshot)
        sound = state.sequence == checkpoint.sequence
        if by_these_rules:
            sound = sound and state.digest() == checkpoint.digest
    except (msgspec.DecodeError, HivemindError, ValueError, TypeError, KeyError) as error:
        _logger.warning("checkpoint %d cannot be read: %s", checkpoint.sequence, error)
        return None
    return state if sound else None


def _diverged(path: Path, sequence: int, what: str) -> Corrupt:
    return Corrupt(
        f"replaying batch {sequence} of {path} {what}",
        hint=f"start the version of Hivemind that wrote it; otherwise restore {path.parent} from a backup",
    )
