"""The node's port for other nodes: connections over TCP and datagrams over UDP, at one address."""

from __future__ import annotations

from collections.abc import Callable

from hivemind.errors import Unavailable
from hivemind.security.identity import Identity
from hivemind.transport.contract import Address
from hivemind.transport.datagrams import UdpDatagrams
from hivemind.transport.peers import TcpPeers

_TRIES = 10
"""Of a port that is to be any free one: free for both."""


class Wire:
    def __init__(self, key: Identity) -> None:
        self.allowed: Callable[[str], bool] = lambda node: False
        """Who belongs to the hive, by id."""
        self.peers = TcpPeers(key, lambda node: self.allowed(node))
        self.datagrams = UdpDatagrams(key)

    @classmethod
    async def open(cls, address: Address, key: Identity) -> Wire:
        """Of no hive yet: see `enter`. Raises `Unavailable` when it cannot listen there."""
        host, port = address
        for left in reversed(range(_TRIES if port == 0 else 1)):
            wire = cls(key)
            try:
                await wire.peers.start(host, port)
                await wire.datagrams.start(host, wire.peers.address[1])
                return wire
            except Unavailable:
                await wire.close()
                if not left:
                    raise
        raise AssertionError("the last try returns or raises")

    @property
    def address(self) -> Address:
        return self.peers.address

    def enter(self, hive: str, secret: bytes | None) -> None:
        self.peers.enter(hive, secret)
        self.datagrams.enter(hive, secret)

    async def close(self) -> None:
        self.datagrams.close()
        await self.peers.close()
