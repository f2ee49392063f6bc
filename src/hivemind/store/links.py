"""What the shared store needs of the connections to the other nodes; `transport.contract.Peers` has all of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

SERVICE = "store"


class Links(Protocol):
    @property
    def connected(self) -> frozenset[str]: ...

    def on_connection(self, callback: Callable[[str, bool], None]) -> Callable[[], None]:
        """Called with the node and whether it is connected now; returns the undo."""

    def send(self, to: str, service: str, message: bytes) -> bool:
        """Best effort; False: dropped at once."""

    def on_message(self, service: str, handler: Callable[[str, bytes], None]) -> Callable[[], None]:
        """`handler(sender, message)`, in the loop's turn; returns the undo."""
