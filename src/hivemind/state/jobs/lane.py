"""The lane of a task: everything that may stop it from starting, other than its turn.

It stands in the record of the task run as text, because the keys in it were computed when the task was queued, and
so that after a restart the same tasks stand in the same lanes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import msgspec

from hivemind.model.base import encode


class Lane(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    project: str
    error: str = ""
    """Why it can never start: a key of it cannot be computed."""
    key: str = ""
    """Of its concurrency; empty: no such limit."""
    limit: int = 0
    behavior: Literal["queue", "cancel", "fail"] = "queue"
    rate: str = ""
    """The key of its rate; empty: no such limit."""
    starts: int = 0
    """At most so many in any period of `per` milliseconds."""
    per: int = 0
    circuits: tuple[str, ...] = ()
    priority: int = 50
    preemptible: bool = False
    # What place it wants:
    cpus: float = 0.0
    memory: int = 0
    gpus: int = 0
    nodes: int = 1
    share: bool = False
    constraints: tuple[str, ...] = ()
    runtime: str = "auto"
    image: str = ""
    executor: str = "hive"
    volumes: tuple[str, ...] = ()
    """Names of those that it mounts."""

    @property
    def place(self) -> tuple[Any, ...]:
        """Equal for those that find a place where the other does."""
        return (
            self.cpus, self.memory, self.gpus, self.nodes, self.share, self.constraints, self.runtime,
            self.executor, self.volumes,
        )  # fmt: skip

    def text(self) -> str:
        return encode(self).decode()


@lru_cache(maxsize=4096)
def lane_of(text: str) -> Lane:
    """Raises `msgspec.DecodeError` for what is no lane."""
    return msgspec.json.decode(text.encode(), type=Lane)
