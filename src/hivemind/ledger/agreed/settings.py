"""What may be tuned in how a hive agrees."""

from __future__ import annotations

import msgspec

from hivemind.protocols.pbft.settings import Settings as Protocol


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """Durations are in seconds."""

    protocol: Protocol = Protocol(pipeline=2)
    """Few batches in flight: what comes meanwhile goes together into the next one, as with one node."""
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
