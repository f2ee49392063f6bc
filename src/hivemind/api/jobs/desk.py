"""What the API needs to know of attempts of tasks that only their node knows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol


class KeptFile(Protocol):
    """One artifact of an attempt; `size` in bytes over all its `files`."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def files(self) -> int: ...


class AttemptDesk(Protocol):
    """Attempts that run here or ran here, as long as they are kept."""

    def artifacts(self, allocation: str) -> Sequence[KeptFile]:
        """Of an attempt, by name; nothing when it has left none, or none is kept any more."""

    def read_artifact(self, allocation: str, name: str) -> AsyncIterator[bytes]:
        """As a tar. Raises `NotFound`."""
