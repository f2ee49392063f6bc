"""Where the etcd is, and how it is talked to."""

from __future__ import annotations

import msgspec


class Etcd(msgspec.Struct, frozen=True, kw_only=True):
    """Durations are in seconds; `kept` counts batches."""

    endpoints: tuple[str, ...] = ("http://127.0.0.1:2379",)
    """Tried in turn."""
    ca: str = ""
    """Files in PEM: who signs the servers' certificates, and this node's own."""
    certificate: str = ""
    key: str = ""
    prefix: str = "hivemind"
    timeout: float = 5.0
    """For each request."""
    answer_within: float = 20.0
    """After which a submitter is told that there was no decision, as yet."""
    kept: int = 20_000
    """How many batches stay in etcd for nodes that are away."""
