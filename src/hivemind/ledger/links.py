"""How ledgers of one hive talk: what `transport.contract.Peers` offers, and no more than the ledger needs of it.

Messages carry agreement: small, best effort, in order while a connection lasts. Streams carry what is large: the
batches that somebody missed, and snapshots.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

SERVICE = "ledger"


class Stream(Protocol):
    """Both ways, in order, whole messages of at most 1 MiB, with back-pressure."""

    @property
    def peer(self) -> str: ...

    async def send(self, message: bytes) -> None:
        """Raises `Unavailable` when the stream is broken."""

    async def receive(self) -> bytes | None:
        """None: the other side has finished. Raises `Unavailable` when the stream is broken."""

    async def finish(self) -> None: ...

    async def close(self) -> None: ...


class Links(Protocol):
    @property
    def node(self) -> str:
        """Its own id."""

    def send(self, to: str, service: str, message: bytes) -> bool:
        """Best effort. False: dropped at once."""

    def on_message(self, service: str, handler: Callable[[str, bytes], None]) -> Callable[[], None]:
        """`handler(sender, message)`, in the loop's turn; returns the undo."""

    async def open(self, to: str, service: str, *, timeout: float) -> Stream:
        """Raises `Unavailable` when there is no way there, `NotFound` when nobody serves that there."""

    def accept(self, service: str, handler: Callable[[Stream], Awaitable[None]]) -> Callable[[], None]:
        """`handler` runs as a task; the stream is closed when it ends."""
