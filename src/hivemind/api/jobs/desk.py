"""What the API needs to know of attempts of tasks that only their node knows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec


class KeptFile(msgspec.Struct, frozen=True, kw_only=True):
    """One artifact of an attempt; `size` in bytes over all its `files`."""

    name: str
    size: int
    files: int


class AttemptDesk(Protocol):
    """Attempts that run here or ran here, as long as they are kept."""

    def artifacts(self, allocation: str) -> list[KeptFile]:
        """Of an attempt, by name; nothing when it has left none, or none is kept any more."""

    def read_artifact(self, allocation: str, name: str) -> AsyncIterator[bytes]:
        """As a tar. Raises `NotFound`."""
