"""What may be tuned. Durations are in microseconds; the defaults fit a LAN."""

from __future__ import annotations

import msgspec

from hivemind.protocols.machine import MILLISECOND, SECOND, Micros
from hivemind.protocols.pbft import limits


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`checkpoint_interval` must be the same at all voters of an epoch."""

    checkpoint_interval: int = 32
    """K: a checkpoint each so many sequences, and at the last one of an epoch."""
    log: int = 64
    """L: sequences above the last stable checkpoint that may be voted on; at least 2K."""
    pipeline: int = 8
    """Proposals in flight: nothing is prepared before what is so far below it was executed."""
    batch_requests: int = 256
    batch_size: int = 512 * 2**10
    """Bytes. A request that is larger goes alone."""
    batch_delay: Micros = 5 * MILLISECOND
    """How long at least requests are collected while a proposal is in flight."""
    gather_delay: Micros = 0
    """How long, after a batch was executed, its clients are waited for, who often ask again at once: what goes
    together costs once, see `batching`. Where decisions take longer, longer. 0: not at all."""
    request_timeout: Micros = 2 * SECOND
    """From when a request is the oldest pending one until the primary is given up. Halfway all voters are told."""
    view_change_timeout: Micros = 2 * SECOND
    """From when a quorum has left a view until the next primary is given up; doubles each time."""
    view_change_limit: Micros = 60 * SECOND
    """What it doubles up to."""
    status_interval: Micros = 500 * MILLISECOND
    """How often a node that lacks something tells others what it has."""
    idle_interval: Micros = 5 * SECOND
    """How often one that lacks nothing does."""
    clock_bound: int = 5_000
    """Milliseconds: how far the time of a proposal may be from a voter's own wall clock. Also how late a batch that
    is due may be before the primary is held to it."""
    replay_gap: int = 2_000
    """Decisions fetched one by one; who is further behind fetches a state."""
    pending_requests: int = 8_192
    pending_size: int = 64 * 2**20
    """Bytes of all pending requests."""
    pending_of_signer: int = 1_024

    def __post_init__(self) -> None:
        if not 1 <= self.pipeline <= limits.MARGIN:
            raise ValueError(f"pipeline must be from 1 to {limits.MARGIN}")
        if self.checkpoint_interval < 1 or not 2 * self.checkpoint_interval <= self.log <= limits.LOG:
            raise ValueError(f"log must be from twice the checkpoint interval to {limits.LOG}")
        if not 1 <= self.batch_requests <= limits.REQUESTS or self.batch_size > limits.REQUEST_SIZE:
            raise ValueError("a batch must fit into a proposal")
