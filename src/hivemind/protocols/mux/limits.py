"""What a connection may hold, and how long it may be quiet."""

from __future__ import annotations

import msgspec

from hivemind.protocols.machine import SECOND, Micros


class Limits(msgspec.Struct, frozen=True):
    """What one connection may hold."""

    queued_messages: int = 1_024
    queued_bytes: int = 8 << 20
    streams: int = 128
    """From each side, calls among them."""
    buffered: int = 8 << 20
    """Bytes that came and wait, above which no new stream is taken."""
    control: int = 1_024
    """Control frames that wait: who makes us say more without listening is given up."""
    ping_after: Micros = 5 * SECOND
    """How long it may be quiet before it is asked whether the other side is there."""
    dead_after: Micros = 15 * SECOND
    """How long it may be quiet at all."""
