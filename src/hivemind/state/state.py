"""State: what the hive agreed, and the one pure function that changes it.

Every node applies the same batches in the same order and gets the same state, the same outcomes, the same
digest. There is no clock here but the batch's, no dice, and nothing depends on the order of a hash table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from hivemind.state.operations import Operation


class Signed(msgspec.Struct, frozen=True):
    """An operation whose signature was checked."""

    signer: str
    nonce: str
    operation: Operation


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one operation: `code` is empty when it was accepted."""

    code: str = ""
    message: str = ""
    hint: str = ""
    id: str = ""
    """Id of the object it made or changed (an app's, a deployment's for deploys in `deployment`)."""
    deployment: str = ""
    version: int = 0

    def raise_for_error(self) -> None: ...


class State:
    hive: str
    """Id of the hive; part of every signature."""
    time: int
    """Milliseconds since 1970 of the last batch."""
    sequence: int

    def __init__(self, hive: str) -> None: ...

    def apply(self, sequence: int, time: int, operations: Sequence[Signed]) -> list[Outcome]:
        """One agreed batch. Never raises for a bad operation: its outcome says why it was refused."""

    def deadline(self) -> int | None:
        """When (ms) the next timer wants a batch, even an empty one."""

    def digest(self) -> bytes:
        """BLAKE2b-256 over everything; costs only what changed since the last call."""

    def snapshot(self) -> bytes: ...

    @classmethod
    def restore(cls, snapshot: bytes) -> State: ...
