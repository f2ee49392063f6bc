"""What a source of other nodes is."""

from __future__ import annotations

from typing import Protocol

from hivemind.transport.contract import Address


class Finder(Protocol):
    """Who is told what sources come across."""

    def found(self, node: str, addresses: tuple[Address, ...]) -> None:
        """The node has said, and signed, that it is there."""

    def perhaps(self, addresses: tuple[Address, ...]) -> None:
        """Somebody of the hive may be there."""


class Source(Protocol):
    async def start(self, finder: Finder) -> None:
        """Raises nothing: a source that cannot work says so in the log."""

    def close(self) -> None: ...
