"""`Datagrams` in memory, of nodes in one event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from hivemind.protocols.datagram import LARGEST_MESSAGE
from hivemind.transport.contract import Address
from hivemind.transport.stream import too_large


class Carrier(Protocol):
    """The network between them."""

    def address(self, node: str) -> Address: ...

    def carry(self, sender: FakeDatagrams, to: Address, kind: str, message: bytes) -> None: ...


class FakeDatagrams:
    def __init__(self, network: Carrier, node: str, hive: str, secret: bytes | None) -> None:
        self.node = node
        self.lost = 0
        self._network, self._sealing = network, (hive, secret)
        self._handlers: dict[str, Callable[[Address, str, bytes], None]] = {}

    @property
    def address(self) -> Address:
        return self._network.address(self.node)

    def enter(self, hive: str, secret: bytes | None) -> None:
        self._sealing = (hive, secret)

    def send(self, to: Address, kind: str, message: bytes) -> None:
        if len(message) > LARGEST_MESSAGE:
            raise too_large("a datagram", len(message), LARGEST_MESSAGE)
        self._network.carry(self, to, kind, message)

    def on_datagram(self, kind: str, handler: Callable[[Address, str, bytes], None]) -> Callable[[], None]:
        self._handlers[kind] = handler

        def undo() -> None:
            if self._handlers.get(kind) is handler:
                del self._handlers[kind]

        return undo

    def take(self, sender: FakeDatagrams, kind: str, message: bytes) -> None:
        handler = self._handlers.get(kind)
        if handler and sender._sealing == self._sealing and self._sealing[1] is not None:
            handler(sender.address, sender.node, message)
        else:
            self.lost += 1
