"""What may be tuned in how a hive agrees."""

from __future__ import annotations

import msgspec

from hivemind.protocols.machine import MILLISECOND
from hivemind.protocols.pbft.settings import Settings as Protocol


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """Durations are in seconds."""

    protocol: Protocol = Protocol(pipeline=2, batch_delay=25 * MILLISECOND, gather_delay=25 * MILLISECOND)
    """Few batches in flight, and those who ask again at once in the same one: a batch costs a node many times what
    an operation in it does."""
    answer_within: float = 20.0
    """After which a submitter is told that there was no decision, as yet."""
    despair_after: float = 3.0
    """The same, once too few voters are heard of to decide anything."""
    silence: float = 12.0
    """After which a voter counts as missing."""
    transfer_timeout: float = 10.0
    """For each step of fetching a state."""
    backlog: int = 10_000
    """Effects that wait for the disk; beyond, messages are dropped."""
